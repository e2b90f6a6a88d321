//! Policies: scopes, rules, the compiled trie and decisions.
