//! A policy file: whatever is accepted chooses an action.
#![no_main]

use libfuzzer_sys::fuzz_target;
use splitwave::control::PolicyFile;
use splitwave::rl::PolicyScratch;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = PolicyFile::from_bytes(bytes) else { return };
    let mut scratch = PolicyScratch::default();
    for saved in &file.policies {
        let observation = vec![0.5; file.observations.len()];
        let choice = saved.policy.best(&observation, &mut scratch);
        assert!((choice.action as usize) < saved.policy.actions());
    }
    let again = file.to_bytes().expect("what was read can be written");
    assert_eq!(PolicyFile::from_bytes(&again).expect("and read again"), file);
});
