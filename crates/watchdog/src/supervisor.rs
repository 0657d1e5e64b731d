//! All services together: who is started and stopped when, and whether the hardware watchdog is
//! to be fed. As pure as [`crate::service`].

use std::time::{Duration, Instant};

use crate::{
    drill::{Fault, NoDrill},
    escalation::Condition,
    service::{Action, Broken, Event, Health, Policy, Service},
};

/// The services, in the order in which they are started.
#[derive(Debug)]
pub struct Supervisor {
    members: Vec<Member>,
    aim: Aim,
}

/// What is wanted of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Run,
    /// Every one is to end, and to begin anew after the pause.
    Restart {
        pause: Duration,
    },
    /// Every one is to end.
    Stop,
}

#[derive(Debug)]
struct Member {
    service: Service,
    critical: bool,
    after: Vec<Index>,
}

/// How one of them is wanted.
#[derive(Debug, Clone)]
pub struct Wish {
    /// How it is treated.
    pub policy: Policy,
    /// Whether the device is useless without it.
    pub critical: bool,
    /// What is to have begun before it is started the first time: up, or failed to come up.
    pub after: Vec<Index>,
}

impl Member {
    /// Whether it waits for its first start, and there may be others that come before.
    fn is_first_start(&self) -> bool {
        !self.after.is_empty() && self.service.is_new()
    }
}

/// A service, by its place in the order.
pub type Index = usize;

/// Something to be done about one service.
pub type Step = (Index, Action);

/// Whether the hardware watchdog is to be fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every critical service is well, or may still come back.
    Feed,
    /// A critical service stays broken: let the hardware reset the device.
    Starve {
        /// The first such service.
        service: Index,
        /// In which way it stays broken.
        broken: Broken,
    },
}

impl Supervisor {
    /// Services as they are wanted, in the order in which they are started.
    pub fn new(services: impl IntoIterator<Item = Wish>, now: Instant) -> Self {
        let members = services
            .into_iter()
            .map(|Wish { policy, critical, after }| Member {
                service: Service::new(policy, now),
                critical,
                after,
            })
            .collect();
        Self { members, aim: Aim::Run }
    }

    /// Something happened to one service. An index that isn't there is ignored.
    pub fn handle(&mut self, now: Instant, index: Index, event: Event) -> Vec<Step> {
        let mut steps = self.pass(now, index, event);
        // Others may have waited for that.
        for index in 0..self.members.len() {
            if self.members[index].is_first_start() {
                steps.extend(self.pass_time(now, index));
            }
        }
        steps.extend(self.go_on_stopping(now));
        steps
    }

    /// Time passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        for index in 0..self.members.len() {
            steps.extend(self.pass_time(now, index));
        }
        steps.extend(self.go_on_stopping(now));
        steps
    }

    /// Everything is to end: one service after the other, the last first, and none is started
    /// again.
    pub fn stop(&mut self, now: Instant) -> Vec<Step> {
        self.aim = Aim::Stop;
        self.go_on_stopping(now)
    }

    /// Everything is to end as with [`Supervisor::stop`], and then, after `pause`, to begin anew:
    /// with no failure remembered. Once everything is to end for good, that stands.
    pub fn restart_all(&mut self, now: Instant, pause: Duration) -> Vec<Step> {
        if self.aim != Aim::Stop {
            self.aim = Aim::Restart { pause };
        }
        self.go_on_stopping(now)
    }

    /// Whether everything has ended after [`Supervisor::stop`].
    pub fn is_finished(&self) -> bool {
        self.aim == Aim::Stop && self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.members.iter().all(|member| member.service.is_ended())
    }

    /// When the next [`Supervisor::tick`] is due. Always after `now`.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.service.deadline(now)).min()
    }

    /// Whether to feed. A stop is bounded by the services' stop timeouts, and is fed throughout.
    pub fn verdict(&self, now: Instant) -> Verdict {
        if self.aim != Aim::Run {
            return Verdict::Feed;
        }
        let broken =
            self.members.iter().enumerate().filter(|(_, member)| member.critical).find_map(
                |(service, member)| match member.service.health(now) {
                    Health::Broken(broken) => Some(Verdict::Starve { service, broken }),
                    Health::Well | Health::Ailing => None,
                },
            );
        broken.unwrap_or(Verdict::Feed)
    }

    /// How the critical services are, with `name` for the broken one.
    pub fn condition<'a>(&self, now: Instant, name: impl FnOnce(Index) -> &'a str) -> Condition {
        let ailing =
            |member: &Member| member.critical && member.service.health(now) != Health::Well;
        match self.verdict(now) {
            Verdict::Starve { service, broken } => {
                Condition::Broken(format!("{}: stays broken ({broken})", name(service)))
            }
            Verdict::Feed if self.aim != Aim::Run => Condition::Ailing,
            Verdict::Feed if self.members.iter().any(ailing) => Condition::Ailing,
            Verdict::Feed => Condition::Well,
        }
    }

    /// Brings a fault about in one service; how long it may take until it is up again.
    ///
    /// # Errors
    ///
    /// When any service isn't well, or the fault would not be noticed.
    pub fn drill(
        &mut self,
        now: Instant,
        index: Index,
        fault: Fault,
    ) -> Result<(Duration, Vec<Step>), NoDrill> {
        let not_now = |why: &str| NoDrill::NotNow(why.to_owned());
        if self.aim != Aim::Run {
            return Err(not_now("all services are being stopped"));
        }
        let member = self.members.get(index).ok_or_else(|| not_now("there is no such service"))?;
        let patience = member.service.bears(fault)?;
        if !self.members.iter().all(|member| member.service.is_settled()) {
            return Err(not_now("another service is not up, or was not up for long enough"));
        }
        Ok((patience, self.handle(now, index, Event::Drill(fault))))
    }

    /// The services, in their order.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.members.iter().map(|member| &member.service)
    }

    /// Whether the device is useless without this one.
    pub fn is_critical(&self, index: Index) -> bool {
        self.members.get(index).is_some_and(|member| member.critical)
    }

    fn pass_time(&mut self, now: Instant, index: Index) -> Vec<Step> {
        let member = &self.members[index];
        let has_begun =
            |other: &Index| self.members.get(*other).is_none_or(|it| it.service.has_begun(now));
        let held = member.is_first_start() && !member.after.iter().all(has_begun);
        self.pass(now, index, if held { Event::Held } else { Event::Tick })
    }

    fn pass(&mut self, now: Instant, index: Index, event: Event) -> Vec<Step> {
        let Some(member) = self.members.get_mut(index) else { return Vec::new() };
        let actions = member.service.handle(now, event);
        actions.into_iter().map(|action| (index, action)).collect()
    }

    fn go_on_stopping(&mut self, now: Instant) -> Vec<Step> {
        if self.aim == Aim::Run {
            return Vec::new();
        }
        let mut steps = Vec::new();
        for index in 0..self.members.len() {
            if self.members[index].service.is_waiting() {
                steps.extend(self.pass(now, index, Event::Stop));
            }
        }
        let last = self.members.iter().rposition(|member| !member.service.is_ended());
        if let Some(index) = last.filter(|&index| !self.members[index].service.is_stopping()) {
            steps.extend(self.pass(now, index, Event::Stop));
        }
        if let (true, Aim::Restart { pause }) = (self.has_ended(), self.aim) {
            self.aim = Aim::Run;
            for member in &mut self.members {
                member.service = member.service.anew(now + pause);
            }
            for index in 0..self.members.len() {
                steps.extend(self.pass_time(now, index));
            }
        }
        steps
    }
}
