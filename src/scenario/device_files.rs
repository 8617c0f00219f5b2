//! The files of devices that a scenario names.

use std::collections::BTreeSet;

use super::LoadedScenario;
use super::devices::DeviceFile;
use super::document::Document;
use super::node_energy::check_device_table;
use super::problem::Problem;

/// More than any file of devices has.
const MOST_BYTES: u64 = 1 << 24;

impl LoadedScenario {
    /// Reads the files in `device_files`; gives what is wrong with them, each problem at its line of its file.
    pub(super) fn read_device_files(&mut self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, name) in self.scenario.device_files.clone().iter().enumerate() {
            let path = self.resolve(name);
            let refuse = |reason: String| {
                Problem::error(format!("device_files[{index}]"), format!("{}: {reason}", path.display())).with_hint(
                    "a file of [[device]] tables; its path counts from the working directory, or else from the \
                     scenario file's folder",
                )
            };
            // A device of the system, or a huge file given by mistake, is no file of devices.
            match std::fs::metadata(&path) {
                Err(error) => {
                    problems.push(refuse(error.to_string()));
                    continue;
                }
                Ok(about) if !about.is_file() || about.len() > MOST_BYTES => {
                    problems
                        .push(refuse("not a file of devices".to_owned()).with_allowed("a TOML file of up to 16 MB"));
                    continue;
                }
                Ok(_) => {}
            }
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) => {
                    problems.push(refuse(error.to_string()));
                    continue;
                }
            };
            let document = Document::parse_bytes(path.display().to_string(), &bytes, &[]);
            match document.read::<DeviceFile>() {
                Ok(file) => {
                    let mut names = BTreeSet::new();
                    for (place, table) in file.device.iter().enumerate() {
                        let mut found = Vec::new();
                        let at = format!("device[{place}]");
                        check_device_table(&mut found, &at, table);
                        if !names.insert(table.name.clone()) {
                            let twice =
                                Problem::error(format!("{at}.name"), "two [[device]] of this file have this name");
                            found.push(twice.with_value(format!("{:?}", table.name)));
                        }
                        for mut problem in found {
                            document.locate(&mut problem);
                            problems.push(problem);
                        }
                    }
                    self.scenario.devices_of_files.extend(file.device);
                }
                Err(found) => problems.extend(found),
            }
            self.document.append(document.sources());
        }
        problems
    }
}
