//! Any document is a policy or a policy error; a policy survives its own canonical form.
#![no_main]

use chio_policy::Policy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Policy::from_json(text, "fuzz.json");
    if let Ok(policy) = Policy::from_yaml(text, "fuzz.yaml") {
        let again = Policy::from_json(policy.canonical(), "canonical").expect("a canonical form is a policy");
        assert_eq!(again.version(), policy.version());
    }
});
