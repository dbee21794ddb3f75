//! Whole commands: what a person types, what they see, and how the process ends.

mod bench;
mod catalogue;
mod cli;
mod components;
mod damage;
mod data;
mod diff;
mod doctor;
mod family;
mod fmt;
mod graph;
mod incident;
mod index;
mod kill;
mod log;
mod new;
mod operate;
mod output;
mod run;
mod schedules;
mod simulate;
mod socket;
mod tasks;
mod test;
mod upgrade;
mod validate;
