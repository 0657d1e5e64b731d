//! The sections that stand there several times, `[[service]]` and `[[monitor]]`: each is read by
//! itself, so that a mistake in one of them harms no other.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Config, ServiceConfig, order, raw};
use crate::{fields::Mistake, monitor};

/// One `[[…]]`, as it stands there.
type Section<'a> = Spanned<DeValue<'a>>;

/// The sections of a file.
pub(super) struct Sections<'a> {
    services: Vec<Section<'a>>,
    monitors: Vec<Section<'a>>,
}

/// What is left out.
pub(super) struct Refused {
    /// Where what is wrong stands.
    pub span: Range<usize>,
    /// The services it is about.
    pub services: Vec<String>,
    /// Which section, what is wrong with it, and what would be right.
    pub message: String,
}

impl<'a> Sections<'a> {
    /// Takes them out of the file.
    ///
    /// # Errors
    ///
    /// Where something else has their name, and that.
    pub fn take(root: &mut DeTable<'a>) -> Result<Self, (Range<usize>, String)> {
        let mut take = |key: &str| {
            let Some(value) = root.remove(key) else { return Ok(Vec::new()) };
            let span = value.span();
            match value.into_inner() {
                DeValue::Array(list) => Ok(list.into_iter().collect()),
                _ => Err((span, format!("write [[{key}]]: it may stand there several times"))),
            }
        };
        Ok(Self { services: take("service")?, monitors: take("monitor")? })
    }

    /// Reads them into a configuration that has everything else; what is left out.
    pub fn read_into(self, config: &mut Config) -> Vec<Refused> {
        let mut refusals = Vec::new();
        let mut places = BTreeMap::new();
        for section in self.services {
            let span = section.span();
            let name = word(&section, "name").unwrap_or("(no name)".to_owned());
            let read = service(&section).and_then(|service| match places.contains_key(&name) {
                false => Ok(service),
                true => Err((None, "stands there twice: give each a name of its own".to_owned())),
            });
            match read {
                Ok(service) => config.services.push(service),
                Err((place, message)) => refusals.push(Refused {
                    span: place.unwrap_or(span.clone()),
                    services: vec![name.clone()],
                    message: format!("service {name:?} is left out: {message}"),
                }),
            }
            places.entry(name).or_insert(span);
        }
        for (services, message) in order::arrange(&mut config.services, &places) {
            let span = services.first().and_then(|name| places.get(name)).cloned();
            let span = span.unwrap_or_default();
            refusals.push(Refused { span, services, message });
        }
        for section in self.monitors {
            let (span, what) = (section.span(), word(&section, "what").unwrap_or_default());
            match monitor(&section, config) {
                Ok(monitor) => config.monitors.push(monitor),
                Err((place, message)) => refusals.push(Refused {
                    span: place.unwrap_or(span),
                    services: Vec::new(),
                    message: format!("monitor {what:?} is left out: {message}"),
                }),
            }
        }
        refusals
    }
}

/// The text of a key, as far as there is any: it stands in the log, whatever it holds.
fn word(section: &Section<'_>, key: &str) -> Option<String> {
    let text = section.get_ref().as_table()?.get(key)?.get_ref().as_str()?;
    Some(text.chars().take(32).collect())
}

fn service(section: &Section<'_>) -> Result<ServiceConfig, Mistake> {
    raw::Service::read(section)?.check().map_err(|message| (None, message))
}

fn monitor(section: &Section<'_>, config: &Config) -> Result<monitor::Limits, Mistake> {
    let monitor = raw::Monitor::read(section)?;
    let limits = monitor.check(config.state_dir.is_some(), config.escalation.is_some());
    let limits = limits.map_err(|message| (None, message))?;
    if config.monitors.iter().any(|other| other.subject == limits.subject) {
        return Err((None, "stands there twice: give each its limits once".to_owned()));
    }
    Ok(limits)
}
