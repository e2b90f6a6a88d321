//! The receipt log: batch store, issuer claim, sealer, index and queries.
