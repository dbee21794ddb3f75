//! What tests share: simulated disks and stores, contract suites, seeded randomness.
//!
//! Nothing here is part of a release. Everything random takes a seed and gives the same run for it.

pub mod clock;
pub mod connector;
pub mod disk;
pub mod history;
pub mod index_contract;
pub mod log_contract;
pub mod memory_documents;
pub mod memory_index;
pub mod memory_log;
pub mod memory_snapshots;
pub mod memory_vault;
pub mod rng;
pub mod sim;
pub mod snapshots_contract;
