//! `splitwave validate`

use std::path::PathBuf;

use crate::cli::failure::Failure;
use crate::cli::{Sets, assemble, print};
use crate::run::inputs::Library;

#[derive(clap::Args, Debug)]
pub struct ValidateArgs {
    /// Scenario files.
    #[arg(required = true, value_name = "SCENARIO.toml")]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    sets: Sets,
}

pub fn validate(args: &ValidateArgs) -> Result<(), Failure> {
    let mut library = Library::default();
    let mut failures = Vec::new();
    for path in &args.scenarios {
        match assemble(path, &args.sets, &mut library, false) {
            Ok(assembly) => {
                let (network, scenario) = (&assembly.network, &assembly.scenario);
                let ues: u64 = network.groups.iter().map(|group| u64::from(group.count)).sum();
                print(&format!(
                    "{}: valid: scenario {}; UEs: {ues}, groups: {}, simulated s: {}, replications: {}, layers: {}\n",
                    path.display(),
                    scenario.name,
                    network.groups.len(),
                    network.duration,
                    scenario.replications,
                    network.model_layers,
                ))?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::join(failures)) }
}
