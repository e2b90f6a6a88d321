//! Conditions of rules: CEL with limits, typed predicates over one pass of the JSON.
