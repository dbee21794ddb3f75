//! Tests of the runtime from outside: the owner by itself, restarts, threads, one simulation.

mod between;
mod index;
mod owner;
mod recovery;
mod runtime;
mod simulation;
mod support;
mod throughput;
