//! Numbers for a collector: what Prometheus would read, pushed now and then, as OTLP.
//!
//! Names, labels and kinds are those of `/metrics`, so a dashboard works with either. Counters and
//! histograms are told as sums since the process began, so one push that is lost loses nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
};
use tokio::{sync::oneshot, task::JoinHandle};
use traaviis_model::times::{BOUNDS, Counted};
use traaviis_server::metrics::{Exposition, Family, Kind, Reading, Sample};

use super::collector::{CLOSE_WAIT, Collector, Sent, attribute, nanos, resource, scope, text};

/// Time between pushes: as often as Prometheus usually reads.
const EVERY: Duration = Duration::from_secs(15);

/// What reads the numbers.
pub type Read = Arc<dyn Fn() -> Exposition + Send + Sync>;

/// Pushes numbers until it is ended.
pub struct Pushing {
    runtime: tokio::runtime::Handle,
    end: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Pushing {
    /// Begins to push.
    pub fn begin(collector: Collector, sent: Arc<Sent>, read: Read) -> Pushing {
        let (end, mut ended) = oneshot::channel();
        let runtime = collector.runtime.clone();
        let begun = SystemTime::now();
        let task = runtime.spawn(async move {
            loop {
                let is_last = tokio::select! {
                    () = tokio::time::sleep(EVERY) => false,
                    _ = &mut ended => true,
                };
                push(&collector, &sent, &read, begun).await;
                if is_last {
                    return;
                }
            }
        });
        Pushing { runtime, end: Some(end), task: Some(task) }
    }
}

impl Drop for Pushing {
    /// Pushes what there is now, once more.
    fn drop(&mut self) {
        drop(self.end.take());
        let Some(task) = self.task.take() else { return };
        let waited = self.runtime.block_on(async { tokio::time::timeout(CLOSE_WAIT, task).await });
        if waited.is_err() {
            tracing::warn!("the last numbers did not reach the collector");
        }
    }
}

async fn push(collector: &Collector, sent: &Sent, read: &Read, begun: SystemTime) {
    let read = Arc::clone(read);
    // Reading asks other threads.
    let Ok(numbers) = tokio::task::spawn_blocking(move || read()).await else { return };
    let request = request_of(&numbers, begun, SystemTime::now());
    let answer = collector.send::<ExportMetricsServiceResponse>("/v1/metrics", &request).await;
    let why = match answer {
        Ok(answer) => {
            let part = answer.partial_success.unwrap_or_default();
            (part.rejected_data_points > 0).then_some(part.error_message)
        }
        Err(why) => Some(why),
    };
    match why {
        None => drop(sent.exported.fetch_add(1, Ordering::Relaxed)),
        Some(why) => {
            sent.failed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("numbers did not reach the collector: {why}");
        }
    }
}

fn request_of(
    numbers: &Exposition,
    begun: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let (begun, now) = (nanos(begun), nanos(now));
    let has_some = |it: &&Family| !it.samples.is_empty();
    let metrics = numbers.families().iter().filter(has_some).map(|it| metric_of(it, begun, now));
    let scoped =
        ScopeMetrics { scope: Some(scope()), metrics: metrics.collect(), ..Default::default() };
    let told = ResourceMetrics {
        resource: Some(resource()),
        scope_metrics: vec![scoped],
        ..Default::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![told] }
}

fn metric_of(family: &Family, begun: u64, now: u64) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let start = match family.kind {
        Kind::Gauge => 0,
        Kind::Counter | Kind::Histogram => begun,
    };
    let points = || family.samples.iter().filter_map(|it| number_of(it, start, now)).collect();
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: points() }),
        Kind::Counter => Data::Sum(Sum {
            data_points: points(),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: family.samples.iter().filter_map(|it| times_of(it, start, now)).collect(),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name: family.name.clone(),
        description: family.help.clone(),
        unit: unit_of(&family.name).into(),
        data: Some(data),
        ..Metric::default()
    }
}

/// The unit of a name stands at its end.
fn unit_of(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match () {
        () if name.ends_with("_seconds") => "s",
        () if name.ends_with("_bytes") => "By",
        () => "1",
    }
}

fn number_of(sample: &Sample, start: u64, now: u64) -> Option<NumberDataPoint> {
    let Reading::Number(value) = sample.reading else { return None };
    Some(NumberDataPoint {
        attributes: sample.labels.iter().map(|(name, it)| attribute(name, text(&**it))).collect(),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

fn times_of(sample: &Sample, start: u64, now: u64) -> Option<HistogramDataPoint> {
    let Reading::Times(Counted { at_most, count, seconds }) = sample.reading else { return None };
    // Each bucket by itself, where Prometheus has all below a bound.
    let mut below = 0;
    let mut bucket_counts = Vec::with_capacity(at_most.len() + 1);
    for it in at_most.into_iter().chain([count]) {
        bucket_counts.push(it - below);
        below = it;
    }
    Some(HistogramDataPoint {
        attributes: sample.labels.iter().map(|(name, it)| attribute(name, text(&**it))).collect(),
        start_time_unix_nano: start,
        time_unix_nano: now,
        count,
        sum: Some(seconds),
        bucket_counts,
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    })
}

#[cfg(test)]
mod tests {
    use traaviis_model::times::Times;

    use super::*;

    #[test]
    fn numbers_are_told_as_they_are_read() {
        let mut numbers = Exposition::default();
        numbers.one("a_bytes", Kind::Gauge, "size", || 7.0);
        numbers.family("b_total", Kind::Counter, "things");
        numbers.sample(&[("result", "done")], 3.0);
        numbers.family("none_total", Kind::Counter, "nothing was counted");
        let times = Times::default();
        [1, 30, 120_000].map(Duration::from_millis).into_iter().for_each(|it| times.note(it));
        numbers.family("c_seconds", Kind::Histogram, "times");
        numbers.times(&[], &times.counted());
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let request = request_of(&numbers, at(1), at(2));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let names: Vec<(&str, &str)> = metrics.iter().map(|it| (&*it.name, &*it.unit)).collect();
        assert_eq!(names, [("a_bytes", "By"), ("b_total", "1"), ("c_seconds", "s")]);
        let Some(Data::Gauge(size)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert_eq!(size.data_points[0].start_time_unix_nano, 0);
        let Some(Data::Sum(things)) = &metrics[1].data else { panic!("{metrics:?}") };
        assert!(things.is_monotonic && things.aggregation_temporality == 2);
        let point = &things.data_points[0];
        assert_eq!(point.attributes, [attribute("result", text("done"))]);
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano),
            (1_000_000_000, 2_000_000_000)
        );
        let Some(Data::Histogram(times)) = &metrics[2].data else { panic!("{metrics:?}") };
        let point = &times.data_points[0];
        assert_eq!(point.bucket_counts, [0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        assert_eq!(point.explicit_bounds.len() + 1, point.bucket_counts.len());
        assert_eq!(point.sum, Some(120.031));
    }
}
