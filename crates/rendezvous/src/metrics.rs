//! Figures in the text format of Prometheus (0.0.4).
//!
//! Written by hand: what the server knows anyway (who is in) is counted when somebody asks, and
//! what remains is a dozen counters. A library's registry would be larger than this file.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use peercam_protocol::signalling::ErrorCode;

use crate::{config::EventKind, system::unix_ms};

/// The content type of [`Page::finish`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Something that is counted from the start of the server on.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Milliseconds since 1970.
    pub(crate) started: u64,
    pub(crate) messages_from_cameras: Counter,
    pub(crate) messages_from_viewers: Counter,
    /// Connections that were not let in: too many of them.
    pub(crate) connections_refused: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) webhooks_delivered: Counter,
    pub(crate) webhooks_failed: Counter,
    pub(crate) webhooks_dropped: Counter,
    pub(crate) admin_refused: Counter,
    events: [Counter; EventKind::ALL.len()],
    /// There are as many as the protocol has codes.
    errors: Mutex<BTreeMap<String, u64>>,
}

/// Who is in at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Census {
    pub(crate) rooms: usize,
    pub(crate) cameras: usize,
    pub(crate) viewers: usize,
    pub(crate) sessions: usize,
}

/// What only the server as a whole knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) census: Census,
    pub(crate) websockets: usize,
    pub(crate) http_connections: usize,
    pub(crate) draining: bool,
    pub(crate) ready: bool,
    /// In seconds since 1970, where there is one.
    pub(crate) certificate_ends: Option<u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: unix_ms(),
            messages_from_cameras: Counter::default(),
            messages_from_viewers: Counter::default(),
            connections_refused: Counter::default(),
            tls_failures: Counter::default(),
            webhooks_delivered: Counter::default(),
            webhooks_failed: Counter::default(),
            webhooks_dropped: Counter::default(),
            admin_refused: Counter::default(),
            events: Default::default(),
            errors: Mutex::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn count_event(&self, kind: EventKind) {
        self.events[kind as usize].one();
    }

    /// An error that a peer was told, or that a camera told us.
    pub(crate) fn count_error(&self, code: ErrorCode) {
        let name = serde_json::to_value(code).ok();
        let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or("other");
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        match errors.get_mut(name) {
            Some(count) => *count += 1,
            None => _ = errors.insert(name.to_owned(), 1),
        }
    }

    /// All of it.
    pub(crate) fn page(&self, now: &Moment) -> Page {
        let mut page = Page::default();
        page.family("peercam_build_info", "gauge", "The program's version, as a label.");
        page.sample("peercam_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        let started = self.started as f64 / 1000.0;
        page.gauge(
            "process_start_time_seconds",
            "When it started, in seconds since 1970.",
            started,
        );
        if let Some(bytes) = resident_bytes() {
            page.gauge("process_resident_memory_bytes", "Memory that it uses.", bytes);
        }
        let Census { rooms, cameras, viewers, sessions } = now.census;
        page.gauge("peercam_rooms", "Rooms in which somebody is.", rooms);
        page.gauge("peercam_cameras", "Cameras that wait in their rooms.", cameras);
        page.gauge("peercam_viewers", "Viewers in rooms.", viewers);
        page.gauge("peercam_sessions", "Sessions that have a line here.", sessions);
        let name = "peercam_connections";
        page.family(name, "gauge", "Connections, by what they speak.");
        page.sample(name, &[("kind", "websocket")], now.websockets);
        page.sample(name, &[("kind", "http")], now.http_connections);
        page.gauge("peercam_ready", "1 where /readyz says so.", u8::from(now.ready));
        page.gauge("peercam_draining", "1 while cameras are moving away.", u8::from(now.draining));
        if let Some(end) = now.certificate_ends {
            page.gauge(
                "peercam_tls_certificate_expiry_timestamp_seconds",
                "When the TLS certificate in use ends, in seconds since 1970.",
                end,
            );
        }

        let name = "peercam_messages_total";
        page.family(name, "counter", "Messages of cameras and viewers.");
        page.sample(name, &[("from", "camera")], self.messages_from_cameras.get());
        page.sample(name, &[("from", "viewer")], self.messages_from_viewers.get());
        let name = "peercam_events_total";
        page.family(name, "counter", "What happened, as the event stream tells it.");
        for (kind, counter) in EventKind::ALL.iter().zip(&self.events) {
            page.sample(name, &[("type", kind.name())], counter.get());
        }
        let name = "peercam_errors_total";
        page.family(name, "counter", "Errors that peers were told, or cameras reported, by code.");
        for (code, count) in self.errors.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            page.sample(name, &[("code", code)], count);
        }
        let name = "peercam_webhook_deliveries_total";
        page.family(name, "counter", "Events for webhooks: delivered, tried in vain, given up.");
        page.sample(name, &[("outcome", "delivered")], self.webhooks_delivered.get());
        page.sample(name, &[("outcome", "failed")], self.webhooks_failed.get());
        page.sample(name, &[("outcome", "dropped")], self.webhooks_dropped.get());
        page.counter(
            "peercam_connections_refused_total",
            "Connections that were not let in: too many, or the server is ending.",
            &self.connections_refused,
        );
        page.counter(
            "peercam_tls_failures_total",
            "TLS handshakes that came to nothing.",
            &self.tls_failures,
        );
        page.counter(
            "peercam_admin_refused_total",
            "Requests to the admin interface without its secret.",
            &self.admin_refused,
        );
        page
    }
}

/// From the kernel; nothing where it does not say.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Figures as they are written.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string does not fail.
        _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One figure. Values of labels must not need escaping: they are words of ours.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0 += name;
        for (nth, (label, text)) in labels.iter().enumerate() {
            let before = if nth == 0 { '{' } else { ',' };
            _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        _ = writeln!(self.0, "{after} {value}");
    }

    /// A family with one figure.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// A family with one counter.
    pub(crate) fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.family(name, "counter", help);
        self.sample(name, &[], counter.get());
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_belongs_to_a_family_that_is_explained_once() {
        let metrics = Metrics::default();
        metrics.count_error(ErrorCode::BadMessage);
        metrics.count_error(ErrorCode::BadMessage);
        metrics.count_event(EventKind::ViewerLeft);
        let moment = Moment {
            census: Census { rooms: 3, ..Census::default() },
            websockets: 1,
            http_connections: 2,
            draining: false,
            ready: true,
            certificate_ends: Some(2_000_000_000),
        };
        let text = metrics.page(&moment).finish();
        let mut families = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!families.contains(&name), "{name} twice");
                assert!(help.ends_with('.'), "{help}");
                families.push(name);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(families.last(), Some(&name));
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let family = name.split('{').next().unwrap();
                assert_eq!(families.last(), Some(&family), "{line}");
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
            }
        }
        for line in [
            "peercam_rooms 3",
            "peercam_tls_certificate_expiry_timestamp_seconds 2000000000",
            "peercam_connections{kind=\"http\"} 2",
            "peercam_errors_total{code=\"bad-message\"} 2",
            "peercam_events_total{type=\"viewer-left\"} 1",
            "peercam_events_total{type=\"error\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in:\n{text}");
        }
    }
}
