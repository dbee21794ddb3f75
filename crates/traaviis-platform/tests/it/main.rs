//! Use cases of the platform over a log and stores in memory.

mod accounts;
mod alert_rules;
mod audit;
mod billing;
mod budgets;
mod departures;
mod elsewhere;
mod exchange;
mod identity;
mod issuers;
mod metering;
mod never_asked;
mod passkeys;
mod restart;
mod standing_alerts;
mod storage;
mod tenants;
mod usage;
mod watched;
mod world;
