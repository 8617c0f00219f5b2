//! Cells that can't be: what is wrong, where, what is allowed, what to do.

use std::fs;

use crate::cli_support::Place;

const CELLULAR: &str = "name = \"a\"\n[channel]\nkind = \"cellular\"\nreception = \"digital\"\n";

/// `validate` refuses this behind a cellular channel, and says all of that.
fn refused(rest: &str, said: &[&str]) {
    let place = Place::with(&format!("{CELLULAR}{rest}\n"));
    let done = place.splitwave(&["run", "s.toml", "--out", "out"]);
    done.says(2, said);
    assert!(!place.path("out").exists(), "something was written");
}

#[test]
fn contradictory_layouts() {
    refused(
        "[[cell]]\nname = \"a\"\n[[cell]]\nname = \"b\"",
        &["cells a and b stand at one place", "s.toml:7:1", "a layout"],
    );
    refused("[[cell]]\nlayout = \"hexagonal\"", &["contradictory layouts", "s.toml:6:10"]);
    refused("[cell]\nsites = 7", &["contradictory layouts: a single cell has no grid", "layout = \"hexagonal\""]);
    refused("[cell]\nlayout = \"hexagonal\"\ninter_site_distance_m = 0", &["inter_site_distance_m` is out of range"]);
    refused("[cell]\nx_m = nan", &["must be a finite number"]);
}

#[test]
fn what_follows_from_places_is_not_given() {
    refused("loss_probability = 0.1", &["in a cellular channel this follows from places", "s.toml:5:20"]);
    refused("noise_std = 0.5", &["in a cellular channel this follows from places"]);
    refused("snr_db = 10", &["in a cellular channel this follows from places"]);
    let place = Place::with("name = \"a\"\n[channel]\nkind = \"cellular\"\n");
    place.splitwave(&["validate", "s.toml"]).says(2, &["the tensor is scaled to it", "\"per-row\" or \"per-request\""]);
    let place = Place::with("name = \"a\"\n[radio]\nlink = \"shannon\"\n");
    place.splitwave(&["validate", "s.toml"]).says(2, &["a statistical channel has no SINR", "s.toml:3:8"]);
}

#[test]
fn powers_and_distances() {
    refused("[radio]\ntx_power_dbm = -1000", &["tx_power_dbm` is out of range", "[-40, 40]"]);
    refused("[radio]\nnoise_figure_db = -1", &["noise_figure_db` is out of range"]);
    refused("[radio]\nsubcarrier_spacing_khz = 45", &["no spacing of 3GPP's numerologies", "15, 30, 60 or 120"]);
    refused("[radio]\nbandwidth_mhz = 0.1", &["too narrow for a single resource block"]);
    refused("[[ue]]\nmobility = { radius_m = -1 }", &["radius_m` is out of range"]);
    refused("[[ue]]\nmobility = { kind = \"random-waypoint\", radius_m = 0 }", &["too small to move in"]);
    refused("[[ue]]\nmobility = { kind = \"random-waypoint\", min_speed_m_s = 3, max_speed_m_s = 1 }", &["above"]);
    refused("[[ue]]\nmobility = { speed_m_s = 3 }", &["speed_m_s belongs to kind = \"linear\""]);
}

#[test]
fn slots_that_would_take_for_ever() {
    refused(
        "[radio]\nsharing = \"slot-pf\"\n[[ue]]\ncount = 1000000",
        &["slot by slot this takes up to", "1000000 UEs", "flow-ps"],
    );
    let place = Place::with("name = \"a\"\n[channel]\nreception = \"digital\"\n[radio]\nsharing = \"slot-pf\"\n");
    place.splitwave(&["validate", "s.toml"]).says(2, &["all links have one rate"]);
    let place = Place::with("name = \"a\"\n[radio]\nsharing = \"slot-round-robin\"\n");
    place.splitwave(&["validate", "s.toml"]).says(2, &["slots carry bits, not analog values"]);
}

#[test]
fn deliveries() {
    refused("delivery = \"deadline\"", &["needs the deadline", "delivery_deadline_ms"]);
    refused("delivery = \"um\"\ndelivery_deadline_ms = 3", &["only \"am\" and \"deadline\" have a deadline"]);
    refused("harq = { max_transmissions = 0 }", &["max_transmissions` is out of range", "[1, 16]"]);
    refused("harq = { round_trip_ms = nan }", &["must be a finite number"]);
}

#[test]
fn paths_with_mistakes() {
    for (text, said) in [
        ("time_s,ue,x_m,y_m\n0,0,0,0\n0,0,1,1\n", "line 3"),
        ("time_s,ue,x_m,y_m\n0,0,0,0\n1,0,nan,1\n", "line 3"),
        ("time_s,x_m,y_m\n0,0,0\n", "no column `ue`"),
        ("time_s,ue,x_m,y_m\n0,0,0,0\n", "paths of 1 UEs, and group a has 2"),
    ] {
        let place = Place::with(&format!(
            "{CELLULAR}[[ue]]\nname = \"a\"\ncount = 2\nmobility = {{ kind = \"trace\", path = \"p.csv\" }}\n"
        ));
        fs::write(place.path("p.csv"), text).unwrap();
        place.splitwave(&["validate", "s.toml"]).says(2, &["p.csv", said]);
    }
    refused("[[ue]]\nmobility = { kind = \"trace\" }", &["a trace needs its file"]);
    refused("[[ue]]\nmobility = { kind = \"trace\", path = \"none.csv\" }", &["none.csv"]);
}
