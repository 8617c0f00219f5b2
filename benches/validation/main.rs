//! Every check against theory, as a Markdown page: theory, measured value, interval.
//!
//! cargo bench --bench validation > docs/validation.md
//!
//! Seeds are fixed, nothing depends on the clock or on threads: the same program prints the same page. A check that
//! is outside is marked, and the exit code is 1. The tests assert the same numbers with tolerances of their own.

mod encodings;
mod energy;
mod estimates;
mod fading;
mod large_scale;
mod link;
mod mobility;
mod output_analysis;
mod page;
mod queues;
mod simulated_queues;
mod slots;
mod traffic;

/// Whole networks, as the tests run them.
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/network_support.rs"]
mod network_support;

/// Textbook queues, as the tests build them.
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/queueing_support.rs"]
mod queueing_support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut page = page::Page::default();
    fading::check(&mut page);
    large_scale::check(&mut page);
    mobility::check(&mut page);
    link::check(&mut page);
    queues::check(&mut page);
    simulated_queues::check(&mut page);
    slots::check(&mut page);
    encodings::check(&mut page);
    traffic::check(&mut page);
    output_analysis::check(&mut page);
    energy::check(&mut page);
    print!("{}", page.markdown());
    for what in page.outside() {
        eprintln!("outside: {what}");
    }
    if page.outside().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
