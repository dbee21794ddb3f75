//! Numbers that the platform counts of itself: documents, tokens, alerts, what tenants use.

use traaviis_platform::{
    Platform,
    meters::{Kept, Meters},
};

use super::{Exposition, Kind};

/// Tells everything.
pub fn tell(platform: &Platform, out: &mut Exposition) {
    let meters = platform.meters();
    tell_documents(meters, out);
    out.family("traaviis_auth_token_total", Kind::Counter, "tokens by what happened to them");
    for (event, count) in meters.tokens() {
        out.sample(&[("result", event.as_str())], count as f64);
    }
    let help = "ends of audit trails that were signed";
    out.one("traaviis_audit_checkpoint_total", Kind::Counter, help, || meters.checkpoints() as f64);
    let help = "alerts by how soon somebody should look";
    out.family("traaviis_alert_raised_total", Kind::Counter, help);
    for (severity, count) in meters.alerts() {
        out.sample(&[("severity", severity)], count as f64);
    }
    let help = "times that somebody was told that most of a budget is spent";
    out.one("traaviis_budget_warning_total", Kind::Counter, help, || {
        meters.budget_warnings() as f64
    });
    let name = "traaviis_billing_metered_total";
    out.family(name, Kind::Counter, "what tenants used, by what invoices are made of");
    for (metric, count) in platform.metered() {
        out.sample(&[("metric", metric.as_str())], count as f64);
    }
    let mails = platform.mail_counts();
    out.family("traaviis_mails_total", Kind::Counter, "mails by how they went");
    for (outcome, count) in
        [("sent", mails.sent), ("failed", mails.failed), ("dropped", mails.dropped)]
    {
        out.sample(&[("outcome", outcome)], count as f64);
    }
}

fn tell_documents(meters: &Meters, out: &mut Exposition) {
    type Counter = fn(&Kept) -> u64;
    let counters: [(&str, &str, Counter); 3] = [
        ("stored", "versions of documents that are durable", |it| it.stored),
        ("retrieved", "times that documents were looked at", |it| it.retrieved),
        ("retrieval_failed", "times that documents could not be read", |it| it.failed),
    ];
    for (kind, kept) in meters.kept() {
        for (what, help, count) in counters {
            let name = format!("traaviis_storage_{kind}_{what}_total");
            out.one(&name, Kind::Counter, help, || count(&kept) as f64);
        }
    }
    let name = "traaviis_storage_change_duration_seconds";
    out.family(name, Kind::Histogram, "time from a decision about documents until it is durable");
    out.times(&[], &meters.change_times());
}
