//! Tests of the runtime from outside: the owner by itself, restarts, threads, one simulation.

mod between;
mod index;
mod life;
mod operating;
mod owner;
mod recovery;
mod runtime;
mod simulated_clock;
mod simulated_facts;
mod simulated_hearing;
mod simulated_index;
mod simulation;
mod subscriptions;
mod support;
mod throughput;
mod tree;
mod tree_ledgers;
mod upkeep;

/// The allocator of the binary; the simulation spends a fifth of its time with that of the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
