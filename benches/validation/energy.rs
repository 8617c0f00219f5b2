//! Time and energy of requests by hand, and batteries.

use crate::network_support::{DEVICES, HEAD, LAYER, assembly, layer_flop, run, simulate, trace};
use crate::page::{Check, Page};

/// TR 38.840 at 23 dBm, 3 mW a unit \[W\].
fn transmit_w() -> f64 {
    (250.0 + 2.267 * (10f64.powf(2.3) - 1.0)) * 3e-3
}

fn scenario(path: &std::path::Path, device: &str, radio: &str, ue: &str) -> String {
    format!(
        "name = \"energy\"\nduration_s = 20.0\nmodel.source = \"none\"\nquality.source = \"none\"\nsplit.initial = 2
controller.kind = \"fixed\"\n[channel]\nfading = \"none\"\n[radio]\nbandwidth_mhz = 1.0\n{radio}\n[[device]]
name = \"own\"\noverhead_ms = 1.0\n{device}\n[[ue]]\nname = \"phone\"\ndevice = \"own\"
workload = {{ kind = \"trace\", path = \"{}\" }}\n{ue}\n[edge]\ndevice = \"server\"\n{DEVICES}",
        path.display()
    )
}

fn by_hand() -> Vec<Check> {
    let device = "peak_tflops = 10.0\nmemory_gb_s = 100.0\nenergy_per_flop_pj = 1.0\nenergy_per_byte_pj = 50.0
idle_power_w = 0.25";
    let mut rows = Vec::new();
    // 16 tokens read two layers at 100 GB/s, which takes longer than the arithmetic; 2048 tokens compute longer.
    for tokens in [16u32, 2048] {
        let file = trace(&[0.0], tokens);
        let finished = run(&scenario(file.path(), device, "", ""));
        let row = &finished.rows[0];
        let (s, seconds) =
            (f64::from(tokens), |time: Option<splitwave::units::SimTime>| time.expect("a time").as_secs_f64());
        let (flop, bytes) = (2.0 * layer_flop(s), 2.0 * LAYER * 2.0);
        let time = (flop / 10e12).max(bytes / 100e9) + 1e-3;
        rows.push(Check::exact(
            format!("{tokens} tokens, two layers: time at the UE, s"),
            time,
            seconds(row.ue_compute_s),
            2e-9,
        ));
        let energy = 1e-12 * flop + 50e-12 * bytes + 0.25 * time;
        rows.push(Check::exact("the same: energy, J", energy, row.ue_energy_j.expect("computed"), 1e-8));
        let air = s * 4096.0 / 2e6;
        rows.push(Check::exact("the same: airtime at 1 MHz, s", air, seconds(row.uplink_air_s), 2e-9));
        let sent = transmit_w() * air;
        rows.push(Check::exact("the same: energy of sending, J", sent, row.tx_energy_j.expect("sent"), 1e-8));
        let (flop, bytes) = (30.0 * layer_flop(s) + 2.0 * HEAD, (30.0 * LAYER + HEAD) * 2.0);
        let time = (flop / 100e12).max(bytes / 1e12) + 2e-3;
        rows.push(Check::exact("the same: time at the edge, s", time, seconds(row.edge_compute_s), 2e-9));
    }
    rows
}

fn batteries() -> Vec<Check> {
    let device = "peak_tflops = 10.0\nmemory_gb_s = 100.0\npower_w = 4.0\nidle_power_w = 0.7";
    let times: Vec<f64> = (0..16).map(|i| 0.05 + 0.6 * f64::from(i)).collect();
    let file = trace(&times, 256);
    let (ues, battery_j) = (4, 6.0);
    let ue = format!("count = {ues}\nbattery_j = {battery_j}");
    let assembly = assembly(&scenario(file.path(), device, "sleep_power_units = 45.0", &ue));
    let mut worst: f64 = 0.0;
    for seed in 1..=5 {
        let finished = simulate(&assembly, seed, 0);
        for number in 0..ues {
            let own = finished.rows.iter().filter(|row| row.ue_id == number);
            let worked: f64 = own.map(|row| row.ue_energy_j.unwrap_or(0.0) + row.tx_energy_j.unwrap_or(0.0)).sum();
            let drawn = finished.energies[&number];
            let beside = drawn.idle_j.expect("idle power") + drawn.sleep_j.expect("a sleeping radio");
            let left = drawn.battery_left_j.expect("a battery");
            worst = worst.max((battery_j - left - worked - beside).abs());
        }
    }
    let mut rows =
        vec![Check::exact("start - left - (work + sending + idle + sleep), worst of 20 UEs, J", 0.0, worst, 1e-7)];

    // Nothing but 10 W idle: 100 J last for 10 s.
    let late = trace(&[15.0], 16);
    let device = "peak_tflops = 10.0\nmemory_gb_s = 100.0\npower_w = 4.0\nidle_power_w = 10.0";
    let finished = run(&scenario(late.path(), device, "", "battery_j = 100.0"));
    let empty = finished.energies[&0].battery_empty_at.expect("an instant").as_secs_f64();
    rows.push(Check::exact("100 J at 10 W idle: empty at, s", 10.0, empty, 2e-9));
    rows
}

/// Adds the topic.
pub fn check(page: &mut Page) {
    page.topic("Time and energy of requests");
    page.table(
        "A request by hand",
        "roofline: max(FLOP/peak, bytes/bandwidth) + overhead; e_F FLOP + e_B bytes + P_idle t; S d/(2 B) on the air; TR 38.840's power at \
         23 dBm. LLaMA-2-7B, 10 TFLOP/s, 100 GB/s and 1 ms at the UE, 100 TFLOP/s, 1 TB/s and 2 ms at the edge.",
        "`tests/it/energy.rs`, `tests/it/network.rs`",
        by_hand(),
    );
    page.table("Batteries", "what was there is what is left and what was drawn.", "`tests/it/battery.rs`", batteries());
}
