//! What a session's rows have lost when the edge goes on: the records that the network
//! hands to the model, and deadlines that no row can keep.

use std::ops::ControlFlow;

use splitwave::channel::{Packets, ReceptionRecord, RoundReception, apply};
use splitwave::kernel::Streams;
use splitwave::network::ports::{
    Delivery, Quality, QualityError, QualityRequest, QualitySource, QualityTicket, RecordError, Recorder,
};
use splitwave::network::rows::{DecisionRow, RequestRow, SeriesRow};
use splitwave::network::simulation::{Ports, Simulation};

use crate::cli_support::Place;
use crate::network_support::{DEVICES, assembly};

/// Keeps what a model would be handed.
#[derive(Default)]
struct Witness {
    records: Vec<ReceptionRecord>,
}

impl QualitySource for Witness {
    fn name(&self) -> Option<&'static str> {
        Some("witness")
    }

    fn submit(&mut self, request: QualityRequest) -> QualityTicket {
        if let Delivery::Tensor(crossing) = request.delivery {
            self.records.push(crossing.reception);
        }
        QualityTicket(0)
    }

    fn join(&mut self, _: QualityTicket) -> Result<Quality, QualityError> {
        Ok(Quality::default())
    }
}

/// Rows lost and packets sent of completed sessions, by the network.
#[derive(Default)]
struct Counts(Vec<(usize, u32)>);

impl Recorder for Counts {
    fn request(&mut self, row: &RequestRow<'_>) -> Result<(), RecordError> {
        self.0.extend(row.e2e_s.and(row.rows_lost).zip(row.packets_sent).map(|(rows, sent)| (rows as usize, sent)));
        Ok(())
    }

    fn decision(&mut self, _: &DecisionRow<'_>) -> Result<(), RecordError> {
        Ok(())
    }

    fn sample(&mut self, _: &SeriesRow) -> Result<(), RecordError> {
        Ok(())
    }
}

/// Sessions of 12 tokens behind prompts of 16, in rows of eight packets of 0.256 ms (2.048 ms
/// a row), over fades of 3 ms.
fn scenario(channel: &str) -> String {
    format!(
        "name = \"rows\"
duration_s = 60.0
quality.source = \"none\"
[controller]
kind = \"fixed\"
[channel]
loss_probability = 0.3
doppler_hz = 80.0
{channel}
[radio]
bandwidth_mhz = 1.0
packet_values = 512
retransmission_delay_ms = 1.0
max_transmissions = 3
[[ue]]
device = \"phone\"
workload = {{ kind = \"deterministic\", rate_per_s = 0.5, prompt_tokens = 16, output_tokens = 12 }}
[edge]
device = \"server\"
{DEVICES}"
    )
}

/// The records of a run, and the network's counts of rows lost and packets sent.
fn run(channel: &str) -> (Vec<ReceptionRecord>, Vec<(usize, u32)>) {
    let assembly = assembly(&scenario(channel));
    let streams = Streams::new(1, 0);
    let (mut quality, mut rows, prompts) = (Witness::default(), Counts::default(), assembly.prompts());
    let mut controllers = assembly.controllers(streams);
    let ports = Ports {
        prompts: prompts.as_ref(),
        reward: &assembly.reward,
        quality: &mut quality,
        text: None,
        recorder: &mut rows,
        controllers: &mut controllers,
    };
    let simulation = Simulation::new(&assembly.network, streams, ports).expect("a network");
    simulation.run(&mut |_| ControlFlow::Continue(())).expect("a run");
    assert_eq!(quality.records.len(), rows.0.len(), "a record for each completed session");
    assert!(rows.0.len() > 20);
    (quality.records, rows.0)
}

/// The records of a run, each with the network's count of the rows lost.
fn records(channel: &str) -> Vec<(ReceptionRecord, usize)> {
    let (records, counts) = run(channel);
    records.into_iter().zip(counts).map(|(record, (rows, _))| (record, rows)).collect()
}

fn lost(packets: &Packets) -> Vec<bool> {
    packets.iter().map(|(_, lost)| lost).collect()
}

/// How many rounds are whole, damaged in part, and lost.
fn kinds(rounds: &[RoundReception]) -> [usize; 3] {
    let mut kinds = [0; 3];
    for round in rounds {
        let missing = round.packets.lost();
        kinds[if round.arrived { usize::from(missing > 0) } else { 2 }] += 1;
    }
    kinds
}

#[test]
fn under_chunk_a_row_loses_the_slices_of_its_lost_packets() {
    let mut all = [0; 3];
    for delivery in ["decode = { delivery = \"none\" }", "decode = { deadline_ms = 4.0 }", ""] {
        for (mut record, rows_lost) in records(&format!("loss_unit = \"chunk\"\n{delivery}")) {
            assert_eq!(record.rounds.len(), 11);
            assert_eq!(record.rows_lost(16).unwrap() + record.rounds_lost().unwrap(), rows_lost);
            // Rows of 16 values: two of each packet's. Those that came are there, the others are the row's before.
            let sent: Vec<f32> = (0..27 * 16).map(|value| value as f32 + 1.0).collect();
            let mut received = sent.clone();
            record.packets.clear();
            assert_eq!(apply(&record, &Streams::new(1, 0), &mut received, 16).rows_lost, record.rounds_lost().unwrap());
            for (round, reception) in (16..).zip(&record.rounds) {
                let lost = lost(&reception.packets);
                assert_eq!(lost.len(), 8);
                assert_eq!(reception.arrived, lost.contains(&false), "{delivery}: {lost:?}");
                for (k, lost) in lost.into_iter().enumerate() {
                    let slice = |values: &[f32], row: usize| values[row * 16 + 2 * k..][..2].to_vec();
                    let expected = if lost { slice(&received, round - 1) } else { slice(&sent, round) };
                    assert_eq!(slice(&received, round), expected, "{delivery}: round {}, packet {k}", round - 15);
                }
            }
            kinds(&record.rounds).iter().zip(&mut all).for_each(|(count, all)| *all += count);
        }
    }
    assert!(all.iter().all(|&count| count > 20), "whole, in part, lost: {all:?}");
}

/// The same air under `token-row`: what lost a packet is lost, as far as the network counts it.
#[test]
fn under_token_row_a_row_that_lacks_a_packet_is_lost() {
    for delivery in ["decode = { delivery = \"none\" }", "decode = { deadline_ms = 4.0 }", ""] {
        let (rows, chunks) = (records(delivery), records(&format!("loss_unit = \"chunk\"\n{delivery}")));
        let (mut lost_rows, mut missing) = (0, 0);
        for ((record, rows_lost), (by_chunk, _)) in rows.into_iter().zip(chunks) {
            assert_eq!(record.rows_lost(16).unwrap() + record.rounds_lost().unwrap(), rows_lost);
            // A session that is an outage under one of the two ends there: compare the same.
            if record.packets == by_chunk.packets {
                for (row, chunk) in record.rounds.iter().zip(&by_chunk.rounds) {
                    assert_eq!(row.packets, chunk.packets);
                    assert_eq!(row.arrived, chunk.packets.lost() == 0);
                    missing += chunk.packets.lost();
                    lost_rows += usize::from(!row.arrived);
                }
            }
        }
        assert!(
            lost_rows > 10 && missing > lost_rows && missing < 8 * lost_rows,
            "{lost_rows} rows, {missing} packets"
        );
    }
}

/// A row takes 2.048 ms, 1 ms is between transmissions, and a packet takes 0.256 ms: 3.304 ms.
#[test]
fn deadlines_that_no_row_can_keep_are_named() {
    let said = |channel: &str, tokens: u32| {
        let text = scenario(channel).replace("output_tokens = 12", &format!("output_tokens = {tokens}"));
        let done = Place::with(&text).splitwave(&["validate", "s.toml"]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        done.err
    };
    let decode = |deadline: &str| format!("decode = {{ deadline_ms = {deadline} }}");
    let first = "a row takes 2.048 ms on the air alone, longer than its deadline of 2.047 ms: none arrives";
    let second = "sent again is there 3.304 ms after its row was first put on the air at the earliest (2.048 ms for the \
                  row, 1.000 ms of radio.retransmission_delay_ms, 0.256 ms for the packet), and its deadline is";
    let warned = said(&decode("2.047"), 12);
    assert!(warned.contains(first) && warned.contains("s.toml:9") && warned.contains("raise deadline_ms"), "{warned}");
    assert!(!warned.contains(second), "{warned}");
    for deadline in ["2.048", "3.303"] {
        let warned = said(&decode(deadline), 12);
        assert!(warned.contains(&format!("{second} {deadline} ms")) && !warned.contains("none arrives"), "{warned}");
    }
    for (channel, tokens) in [
        (decode("3.304"), 12),
        (decode("2.047"), 1),
        (decode("2.048") + "\nloss_unit = \"element-iid\"", 12),
        ("decode = { delivery = \"none\" }".to_owned(), 12),
        (String::new(), 12),
    ] {
        let warned = said(&channel, tokens);
        assert!(!warned.contains(" a row ") && !warned.contains(second), "{channel}: {warned}");
    }
    // What a warning says is so: at 2.047 ms no row ever arrives, at 3.303 ms nothing ever comes a second time.
    let never: Vec<_> = records(&decode("2.047")).into_iter().flat_map(|(record, _)| record.rounds).collect();
    assert!(never.iter().all(|round| !round.arrived && round.packets.is_empty()));
    // 128 packets of the prompt and 88 of the rows.
    let sent = |deadline: &str| run(&decode(deadline)).1.into_iter().map(|(_, sent)| sent).collect::<Vec<_>>();
    assert!(sent("2.047").iter().all(|&sent| sent == 128));
    assert!(sent("3.303").iter().all(|&sent| sent == 216));
    assert!(sent("3.304").iter().any(|&sent| sent > 216));
}

#[test]
fn fades_are_compared_with_the_prompt_of_a_session() {
    let slow = scenario("").replace("doppler_hz = 80.0", "doppler_hz = 1.0");
    let warned = |text: &str| Place::with(text).splitwave(&["validate", "s.toml"]).err;
    let of_session = warned(&slow);
    assert!(of_session.contains("longer than the 32.8 ms that the prompt of a session of group ue"), "{of_session}");
    let alone = warned(&slow.replace("output_tokens = 12", "output_tokens = 1"));
    assert!(alone.contains("longer than the 32.8 ms that a request of group ue"), "{alone}");
}
