//! Tests of the stores from outside: contract, crashes, damage, the real directory.

mod archive;
mod backup;
mod blobs;
mod compact;
mod contract;
mod cost;
mod crash;
mod damage;
mod documents;
mod index;
mod local;
mod sealed;
mod secrets;
mod snapshots;
mod support;
mod transfer;
