//! Which service is started after which: the order of the file, but where `after` says otherwise.

use std::{collections::BTreeMap, ops::Range};

use super::ServiceConfig;

/// Puts the services into the order in which they are started, and takes out those that can have no
/// place in it: their names, with the reason. `known` holds all names of the file: what is to start
/// after a service that was refused needn't wait for it.
pub(super) fn arrange(
    services: &mut Vec<ServiceConfig>,
    known: &BTreeMap<String, Range<usize>>,
) -> Vec<(Vec<String>, String)> {
    let mut refused = Vec::new();
    services.retain(|service| {
        let name = &service.name;
        let Some(other) = service.after.iter().find(|other| !known.contains_key(*other)) else {
            return true;
        };
        let message = format!(
            "service {name:?} is left out: after {other:?}: no service of this file is called that"
        );
        refused.push((vec![name.clone()], message));
        false
    });
    let mut waiting = std::mem::take(services);
    while !waiting.is_empty() {
        let ready = (0..waiting.len()).find(|&index| next(&waiting, index).is_none());
        if let Some(index) = ready {
            let mut service = waiting.remove(index);
            service.after.retain(|name| services.iter().any(|other| other.name == *name));
            services.push(service);
            continue;
        }
        let circle = circle(&waiting);
        let words: Vec<String> = circle.iter().map(|name| format!("{name:?}")).collect();
        let words = words.join(" after ");
        let message = format!(
            "services are left out, since each is to start after another one of them: {words} \
             after {:?}: take one `after` away",
            circle[0]
        );
        waiting.retain(|service| !circle.contains(&service.name));
        refused.push((circle, message));
    }
    refused
}

/// The first of those who still wait that this one is to start after.
fn next(waiting: &[ServiceConfig], index: usize) -> Option<usize> {
    let after = &waiting[index].after;
    after.iter().find_map(|name| waiting.iter().position(|other| other.name == *name))
}

/// Names of a circle, which there is when each waits for another one.
fn circle(waiting: &[ServiceConfig]) -> Vec<String> {
    let mut path = Vec::new();
    let mut at = 0;
    while !path.contains(&at) {
        path.push(at);
        at = next(waiting, at).unwrap_or(at);
    }
    let from = path.iter().position(|&index| index == at).unwrap_or(0);
    path[from..].iter().map(|&index| waiting[index].name.clone()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use crate::config::Config;

    /// Services `name: after after`, one a line; the order, and what is said of those left out.
    fn arranged(lines: &str) -> (Vec<String>, Vec<String>) {
        let service = |line: &str| {
            let (name, after) = line.trim().split_once(':').unwrap();
            let after: Vec<&str> = after.split_whitespace().collect();
            format!("[[service]]\nname = {name:?}\ncommand = [\"/a\"]\nafter = {after:?}\n")
        };
        let text: String = lines.trim().lines().map(service).collect();
        let config = Config::parse(&text, "file").unwrap();
        (
            config.services.into_iter().map(|service| service.name).collect(),
            config.refusals.into_iter().map(|refusal| refusal.problem).collect(),
        )
    }

    #[test]
    fn the_order_of_the_file_stands_but_where_after_says_otherwise() {
        assert_eq!(arranged("a:\nb:\nc:").0, ["a", "b", "c"]);
        assert_eq!(arranged("a: c\nb:\nc: d\nd:").0, ["b", "d", "c", "a"]);
        assert_eq!(arranged("a: b c\nb: c\nc:").0, ["c", "b", "a"]);
    }

    #[test]
    fn a_circle_is_named_and_the_others_start() {
        let (order, said) = arranged("a: b\nb: c\nc: a\nlast: a\nfirst:");
        assert_eq!(order, ["first", "last"]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains(r#""a" after "b" after "c" after "a""#), "{said:?}");
        let (order, said) = arranged("tail: a\na: b\nb: a\nc: d\nd: c\nself: self");
        assert_eq!(order, ["tail"]);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[2].starts_with("file:21: "), "{said:?}");
    }

    #[test]
    fn a_name_that_is_not_there_is_a_mistake_of_the_service_that_names_it() {
        let (order, said) = arranged("a: nobody\nb: a");
        assert_eq!(order, ["b"]);
        assert!(said[0].starts_with("file:1: service \"a\"") && said[0].contains("\"nobody\""));
    }
}
