//! Receipts: bodies, Merkle tree, checkpoints, signing and verifying.
