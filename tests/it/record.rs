//! Record files and summaries: exact text, whole rows on a full disk, sums done by hand.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use splitwave::network::ports::Recorder;
use splitwave::network::rows::{DecisionRow, Outcome, Record, RequestRow, SeriesRow};
use splitwave::record::{CsvFile, Overall, RunRecorder, Sink, Summary, SummaryRow, Wanted, column_reference};
use splitwave::units::SimTime;

fn ms(milliseconds: u64) -> SimTime {
    SimTime::from_nanos(milliseconds * 1_000_000)
}

/// A request that was dropped at its arrival.
fn dropped(request_id: u64, ue_id: u32, arrival_s: SimTime) -> RequestRow<'static> {
    RequestRow {
        request_id,
        ue_id,
        group: "phone",
        cell_id: 0,
        episode: None,
        window: Some(3),
        arrival_s,
        split: None,
        prompt_tokens: 64,
        output_tokens: 1,
        noise_std: None,
        rayleigh_scale: None,
        loss_probability: None,
        activation_snr_db: None,
        mean_gain: None,
        packets_sent: None,
        packets_lost: None,
        rows_lost: None,
        loss_bursts: None,
        uplink_bits: None,
        ue_wait_s: None,
        ue_compute_s: None,
        uplink_wait_s: None,
        uplink_air_s: None,
        edge_wait_s: None,
        edge_compute_s: None,
        downlink_s: None,
        ttft_s: None,
        tpot_s: None,
        e2e_s: None,
        deadline_met: None,
        ue_flop: None,
        edge_flop: None,
        ue_energy_j: None,
        tx_energy_j: None,
        nll_sum: None,
        tokens_scored: None,
        ppl_clean: None,
        ppl: None,
        quality_source: None,
        reward: None,
        outcome: Outcome::Dropped,
        conversation: None,
        turn: None,
        packets_missing: None,
        sinr_db: None,
        spectral_efficiency_bps_hz: None,
        x_m: None,
        y_m: None,
        distance_m: None,
        handovers: None,
        ue_tokens: None,
        edge_tokens: None,
        fallback_tokens: None,
        llm_agreements: None,
        edge_asks: None,
        downlink_bits: None,
        layer_load_s: None,
        battery_j: None,
    }
}

/// A request that completed `total` after its arrival.
fn completed(request_id: u64, ue_id: u32, arrival: SimTime, total: SimTime) -> RequestRow<'static> {
    RequestRow {
        episode: Some(0),
        split: Some(4),
        noise_std: Some(0.5),
        rayleigh_scale: Some(std::f64::consts::FRAC_1_SQRT_2),
        loss_probability: Some(0.1),
        activation_snr_db: Some(-3.25),
        mean_gain: Some(0.875),
        packets_sent: Some(64),
        packets_lost: Some(6),
        rows_lost: Some(5),
        loss_bursts: Some(2),
        uplink_bits: Some(4_194_304),
        ue_wait_s: Some(SimTime::ZERO),
        ue_compute_s: Some(ms(20)),
        uplink_wait_s: Some(ms(1)),
        uplink_air_s: Some(SimTime::from_nanos(209_715_200)),
        edge_wait_s: Some(SimTime::ZERO),
        edge_compute_s: Some(ms(9)),
        downlink_s: Some(SimTime::from_nanos(1)),
        ttft_s: Some(total),
        e2e_s: Some(total),
        deadline_met: Some(true),
        ue_flop: Some(1.25e11),
        edge_flop: Some(8.5e11),
        ue_energy_j: Some(0.5),
        tx_energy_j: Some(0.25),
        nll_sum: Some(192.0),
        tokens_scored: Some(64),
        ppl_clean: Some(std::f64::consts::E),
        ppl: Some(20.0),
        quality_source: Some("llm"),
        reward: Some(-21.5),
        outcome: Outcome::Completed,
        conversation: Some(2),
        turn: Some(1),
        ..dropped(request_id, ue_id, arrival)
    }
}

fn sample(ue_queue_mean: f64) -> SeriesRow {
    let (edge_queue, edge_busy, uplink_active) = (1, 2, 3);
    SeriesRow { time_s: ms(250), edge_queue, edge_busy, uplink_active, ue_queue_mean, requests_completed: u64::MAX }
}

/// A disk with room for `room` bytes, seen from outside; writes are split in odd places.
#[derive(Clone)]
struct Disk {
    content: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Disk {
    fn new(room: usize) -> Self {
        Self { content: Arc::default(), room }
    }

    fn text(&self) -> String {
        String::from_utf8(self.content.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.content.lock().unwrap();
        let count = bytes.len().min(self.room - content.len()).min(7_919);
        content.extend_from_slice(&bytes[..count]);
        if count == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Disk {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.content.lock().unwrap().truncate(length as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn on<R: Record>(disk: &Disk) -> CsvFile {
    CsvFile::into_sink::<R>(PathBuf::from("there/requests.csv"), Box::new(disk.clone()))
}

#[test]
fn a_row_is_this_line() {
    let disk = Disk::new(usize::MAX);
    let mut file = on::<RequestRow<'_>>(&disk);
    file.push(&completed(7, 1, ms(1_500), SimTime::from_nanos(239_715_201))).unwrap();
    file.push(&dropped(8, 0, SimTime::from_nanos(u64::MAX))).unwrap();
    assert_eq!(file.finish().unwrap().rows, 2);
    let text = disk.text();
    let lines: Vec<_> = text.lines().collect();
    let names: Vec<_> = RequestRow::COLUMNS.iter().map(|column| column.name).collect();
    assert_eq!(lines[0], names.join(","));
    assert_eq!(
        lines[1],
        "7,1,phone,0,0,3,1.5,4,64,1,0.5,0.7071067811865476,0.1,-3.25,0.875,64,6,5,2,4194304,\
         0,0.02,0.001,0.2097152,0,0.009,0.000000001,0.239715201,,0.239715201,true,\
         125000000000.0,850000000000.0,0.5,0.25,192.0,64,2.718281828459045,20.0,llm,-21.5,completed,,,2,1,,,,,,,,,,,,,"
    );
    assert_eq!(
        lines[2],
        format!("8,0,phone,0,,3,18446744073.709551615,,64,1{},dropped{}", ",".repeat(31), ",".repeat(17))
    );
    assert!(text.ends_with("dropped,,,,,,,,,,,,,,,,,\n"));
    assert_eq!(lines.len(), 3);
}

#[test]
fn numbers_read_back_exactly_or_are_empty() {
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = f64::from_bits(bits ^ (bits >> 29));
        let disk = Disk::new(1 << 20);
        let mut file = on::<SeriesRow>(&disk);
        file.push(&sample(value)).unwrap();
        drop(file);
        let text = disk.text();
        let cell = text.lines().nth(1).unwrap().split(',').nth(4).unwrap();
        if value.is_finite() {
            assert_eq!(cell.parse::<f64>().unwrap().to_bits(), value.to_bits());
        } else {
            assert_eq!(cell, "");
        }
        assert!(text.ends_with(",18446744073709551615\n"));
    }
}

#[test]
fn words_cannot_break_a_row() {
    let disk = Disk::new(usize::MAX);
    let mut file = on::<RequestRow<'_>>(&disk);
    file.push(&RequestRow { group: "a,\"b\"\nc", ..dropped(0, 0, ms(0)) }).unwrap();
    drop(file);
    assert!(disk.text().lines().nth(1).unwrap().starts_with("0,0,\"a,\"\"b\"\" c\",0,"), "{}", disk.text());
    assert_eq!(disk.text().lines().count(), 2);
}

#[test]
fn a_full_disk_leaves_whole_rows() {
    let whole = {
        let disk = Disk::new(usize::MAX);
        let mut file = on::<RequestRow<'_>>(&disk);
        (0..1_000).for_each(|id| file.push(&completed(id, 0, ms(id), ms(300))).unwrap());
        file.finish().unwrap();
        disk.text()
    };
    for room in [1, 100, 1_000, 65_000, 65_536, 70_001, 131_071, 200_000, whole.len() - 1] {
        let disk = Disk::new(room);
        let mut file = on::<RequestRow<'_>>(&disk);
        let failed = (0..1_000).find_map(|id| file.push(&completed(id, 0, ms(id), ms(300))).err());
        let again = file.push(&dropped(0, 0, ms(0)));
        let error = failed.or_else(|| file.finish().err()).expect("the disk is full");
        assert_eq!(error.source.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().starts_with("there/requests.csv: "), "{error}");
        assert!(again.is_ok(), "gathered only");
        let text = disk.text();
        assert!(whole.starts_with(&text) && text.len() <= room, "room {room}");
        assert!(text.is_empty() || text.ends_with('\n'), "room {room}");
        let next_row = whole[text.len()..].find('\n').unwrap() + 1;
        assert!(text.len() + next_row > room, "room {room}: a row less than fits");
    }
}

#[test]
fn a_file_that_failed_stays_failed() {
    let disk = Disk::new(1_000);
    let mut file = on::<RequestRow<'_>>(&disk);
    while file.push(&dropped(0, 0, ms(0))).is_ok() {}
    let kept = disk.text();
    while file.push(&dropped(1, 0, ms(0))).is_ok() {}
    assert!(file.finish().unwrap_err().to_string().contains("there/requests.csv"));
    assert_eq!(disk.text(), kept);
}

#[cfg(target_os = "linux")]
#[test]
fn the_device_that_is_always_full() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut file = CsvFile::into_sink::<RequestRow<'_>>(PathBuf::from("/dev/full"), Box::new(full));
    file.push(&dropped(0, 0, ms(0))).unwrap();
    let error = file.finish().unwrap_err();
    assert_eq!((error.source.kind(), error.path), (ErrorKind::StorageFull, PathBuf::from("/dev/full")));
}

#[test]
fn a_seal_is_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = CsvFile::create::<RequestRow<'_>>(folder.path()).unwrap();
    (0..2_000).for_each(|id| file.push(&completed(id, 0, ms(id), ms(300))).unwrap());
    let seal = file.finish().unwrap();
    let content = fs::read(folder.path().join("requests.csv")).unwrap();
    assert_eq!((seal.name.as_str(), seal.rows, seal.bytes), ("requests.csv", 2_000, content.len() as u64));
    assert_eq!(seal.blake3, blake3::hash(&content).to_hex().to_string());
    assert_eq!(content.split(|&byte| byte == b'\n').count(), 2_002);

    let error = CsvFile::create::<RequestRow<'_>>(&folder.path().join("none")).err().unwrap();
    assert_eq!(error.path, folder.path().join("none/requests.csv"));
}

fn two_groups(warmup: SimTime, window: SimTime) -> Summary {
    Summary::new(&[("phone".to_owned(), 2), ("glasses".to_owned(), 1), ("none".to_owned(), 0)], warmup, window)
}

fn rows(summary: &Summary) -> Vec<SummaryRow<'_>> {
    summary.rows(&Overall { uplink: Some(0.25), ..Overall::default() }).collect()
}

#[test]
fn sums_by_hand() {
    let mut summary = two_groups(ms(1_000), ms(10_000));
    let third =
        RequestRow { split: Some(1), nll_sum: Some(0.0), ppl: Some(1.0), ..completed(4, 2, ms(5_000), ms(900)) };
    for row in [
        completed(0, 0, ms(999), ms(77_000)), // before the warm-up
        completed(1, 0, ms(1_000), ms(300)),
        RequestRow { deadline_met: Some(false), ..completed(2, 1, ms(1_100), ms(500)) },
        dropped(3, 1, ms(1_200)),
        RequestRow { tokens_scored: Some(192), ..third },
        RequestRow { outcome: Outcome::Timeout, deadline_met: Some(false), ..dropped(5, 2, ms(5_100)) },
        RequestRow { outcome: Outcome::Unfinished, ..dropped(6, 2, ms(5_200)) },
        RequestRow { outcome: Outcome::Outage, ppl: Some(32_000.0), ..dropped(7, 0, ms(9_000)) },
    ] {
        summary.add(&row);
    }
    let rows = rows(&summary);
    let scopes: Vec<_> = rows.iter().map(|row| (row.scope, row.name.as_str(), row.group)).collect();
    assert_eq!(
        scopes,
        [
            ("ue", "0", Some("phone")),
            ("ue", "1", Some("phone")),
            ("ue", "2", Some("glasses")),
            ("group", "phone", Some("phone")),
            ("group", "glasses", Some("glasses")),
            ("group", "none", Some("none")),
            ("all", "all", None),
        ]
    );
    for row in &rows {
        assert_eq!(row.arrivals, row.completed + row.outage + row.timeout + row.dropped + row.unfinished);
    }
    let all = &rows[6];
    assert_eq!([all.arrivals, all.completed, all.outage, all.timeout], [7, 3, 1, 1]);
    assert_eq!([all.dropped, all.unfinished], [1, 1]);
    assert_eq!(all.e2e_mean_s, Some(1.7 / 3.0));
    assert_eq!(all.e2e_max_s, Some(ms(900)));
    for quantile in [all.e2e_p99_s, all.ttft_p95_s] {
        assert!((quantile.unwrap().as_secs_f64() / 0.9 - 1.0).abs() < 1e-3, "{quantile:?}");
    }
    assert_eq!((all.ue_compute_mean_s, all.ue_wait_mean_s), (Some(0.02), Some(0.0)));
    // Two windows of 64 tokens with 192 nat each, one of 192 tokens with none.
    assert!((all.corpus_ppl.unwrap() - (384.0f64 / 320.0).exp()).abs() < 1e-12);
    assert!((all.corpus_ppl_clean.unwrap() - std::f64::consts::E).abs() < 1e-12);
    assert_eq!(all.ppl_mean, Some((20.0 + 20.0 + 1.0 + 32_000.0) / 4.0));
    assert_eq!((all.split_mean, all.reward_mean), (Some(3.0), Some(-21.5)));
    assert_eq!((all.packet_loss_rate, all.row_loss_rate), (Some(18.0 / 192.0), Some(15.0 / 192.0)));
    assert_eq!((all.ue_energy_j, all.tx_energy_j), (Some(1.5), Some(0.75)));
    assert_eq!((all.throughput_rps, all.goodput_rps), (Some(0.3), Some(0.2)));
    assert_eq!((all.uplink_utilisation, all.edge_utilisation), (Some(0.25), None));
    // Three times 20 ms inside, and 19 ms of the request from before the warm-up.
    assert!((all.ue_utilisation.unwrap() - 0.079 / 30.0).abs() < 1e-15);
    assert!((rows[0].ue_utilisation.unwrap() - 0.039 / 10.0).abs() < 1e-15);

    assert_eq!((rows[0].arrivals, rows[0].e2e_mean_s, rows[0].e2e_max_s), (2, Some(0.3), Some(ms(300))));
    assert_eq!((rows[0].e2e_median_s, rows[0].uplink_utilisation), (None, None));
    let median = rows[3].e2e_median_s.unwrap().as_secs_f64();
    assert!((median / 0.3 - 1.0).abs() < 1e-3, "{median}");
    let none = &rows[5];
    assert_eq!((none.arrivals, none.e2e_mean_s, none.e2e_p95_s, none.corpus_ppl), (0, None, None, None));
    assert_eq!((none.ue_utilisation, none.ue_energy_j, none.packet_loss_rate), (None, None, None));
}

#[test]
fn a_busy_ue_is_busy_all_the_time_and_not_more() {
    let mut summary = Summary::new(&[("phone".to_owned(), 1)], ms(2_000), ms(8_000));
    // Service back to back from 0 to 20 s, arrivals all at the start.
    for id in 0..20 {
        let (wait, compute) = (Some(ms(1_000 * id)), Some(ms(1_000)));
        summary.add(&RequestRow { ue_wait_s: wait, ue_compute_s: compute, ..completed(id, 0, ms(0), ms(99)) });
    }
    let busy = summary.aggregates(&Overall::default());
    assert_eq!((busy[1].ue_utilisation, busy[1].arrivals, busy[1].throughput_rps), (Some(1.0), 0, Some(0.0)));

    let mut empty = Summary::new(&[("phone".to_owned(), 1)], ms(2_000), ms(0));
    empty.add(&completed(0, 0, ms(3_000), ms(5)));
    let row = &empty.aggregates(&Overall::default())[1];
    assert_eq!((row.throughput_rps, row.goodput_rps, row.ue_utilisation), (None, None, None));
}

#[test]
fn a_stop_rule_shortens_the_window() {
    let mut summary = Summary::new(&[("phone".to_owned(), 1)], ms(2_000), ms(8_000));
    let busy = |id, arrival, time| RequestRow {
        ue_wait_s: Some(ms(0)),
        ue_compute_s: Some(ms(time)),
        ..completed(id, 0, ms(arrival), ms(time))
    };
    summary.add(&busy(0, 1_900, 200)); // from before the warm-up, done at 2.1 s
    summary.add(&busy(1, 3_000, 300));
    summary.arrivals_ended(ms(4_000));
    summary.add(&busy(2, 3_800, 900)); // 0.2 s of it inside, done at 4.7 s
    let row = &summary.aggregates(&Overall::default())[1];
    assert_eq!((row.arrivals, row.completed, row.throughput_rps, row.goodput_rps), (2, 2, Some(1.0), Some(1.0)));
    assert_eq!(row.ue_utilisation, Some(0.3));
}

#[test]
fn quantiles_of_many_within_a_thousandth() {
    let mut summary = two_groups(ms(0), ms(1_000));
    // The k-th time is k² µs, so the p-quantile is (p n)² µs.
    for k in 1..=10_000u64 {
        summary.add(&completed(k, (k % 3) as u32, ms(0), SimTime::from_nanos(1_000 * k * k)));
    }
    let rows = summary.aggregates(&Overall::default());
    let all = rows.last().unwrap();
    for (found, p) in [(all.e2e_median_s, 0.5), (all.e2e_p95_s, 0.95), (all.e2e_p99_s, 0.99), (all.ttft_median_s, 0.5)]
    {
        let exact = (p * 1e4) * (p * 1e4) * 1e-6;
        assert!((found.unwrap().as_secs_f64() / exact - 1.0).abs() < 1e-3, "{p}: {found:?}");
    }
    assert_eq!(all.e2e_max_s, Some(ms(100_000)));
    // Σ k² = n (n + 1) (2n + 1) / 6, exact in integers.
    assert_eq!(all.e2e_mean_s, Some(333_383_335_000.0 * 1_000.0 / 1e4 / 1e9));
}

#[test]
fn a_recorder_keeps_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = Wanted { requests: true, decisions: true, series: false, updates: false, tokens: false };
    let summary = two_groups(ms(0), ms(1_000));
    let mut recorder = RunRecorder::create(folder.path(), wanted, summary).unwrap();
    recorder.request(&completed(0, 2, ms(0), ms(300))).unwrap();
    let decision = DecisionRow {
        step: 0,
        ue_id: 2,
        request_id: 0,
        time_s: ms(20),
        episode: 0,
        step_in_episode: 4,
        noise_std: None,
        rayleigh_scale: Some(0.5),
        loss_probability: Some(0.125),
        split: 3,
        action: 2,
        next_split: 4,
        log_prob: None,
        value: None,
        reward: Some(-21.5),
        reward_source: Some("llm"),
    };
    recorder.decision(&decision).unwrap();
    recorder.sample(&sample(0.0)).unwrap();
    let recorded = recorder.finish(&Overall { uplink: Some(0.5), edge: Some(0.75), ..Overall::default() }).unwrap();
    let names: Vec<_> = recorded.seals.iter().map(|seal| (seal.name.as_str(), seal.rows)).collect();
    assert_eq!(names, [("requests.csv", 1), ("decisions.csv", 1), ("summary.csv", 7)]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    let decisions = fs::read_to_string(folder.path().join("decisions.csv")).unwrap();
    assert_eq!(decisions.lines().nth(1), Some("0,2,0,0.02,0,4,,0.5,0.125,3,2,4,,,-21.5,llm"));
    let summary = fs::read_to_string(folder.path().join("summary.csv")).unwrap();
    let cell = |line: usize, name: &str| {
        let column = summary.lines().next().unwrap().split(',').position(|column| column == name).unwrap();
        summary.lines().nth(line).unwrap().split(',').nth(column).unwrap().to_owned()
    };
    assert_eq!([cell(7, "scope"), cell(7, "name"), cell(7, "group")], ["all", "all", ""]);
    assert_eq!([cell(7, "arrivals"), cell(7, "e2e_mean_s"), cell(7, "e2e_p99_s")], ["1", "0.3", "0.3"]);
    assert_eq!([cell(7, "uplink_utilisation"), cell(7, "edge_utilisation")], ["0.5", "0.75"]);
    assert_eq!([cell(1, "e2e_mean_s"), cell(3, "e2e_mean_s"), cell(3, "e2e_p99_s")], ["", "0.3", ""]);
}

#[test]
fn every_column_is_explained() {
    let page = column_reference();
    assert!(page.contains("splitwave schema --columns"));
    for (file, columns) in [
        (RequestRow::FILE, RequestRow::COLUMNS),
        (DecisionRow::FILE, DecisionRow::COLUMNS),
        (SeriesRow::FILE, SeriesRow::COLUMNS),
        (SummaryRow::FILE, SummaryRow::COLUMNS),
    ] {
        let section = page.split(&format!("\n## {file}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        assert_eq!(section.lines().filter(|line| line.starts_with("| `")).count(), columns.len());
        for column in columns {
            assert!(section.contains(&format!("| `{}` | {} |", column.name, column.doc.trim())), "{}", column.name);
            assert!(column.doc.trim().len() > 5, "{}", column.name);
        }
    }
}
