//! What the agent answers on its control socket.

use peercam_protocol::signalling::ByeReason;
use tracing::info;

use super::{Agent, CLIENT_END, SESSIONS_END};
use crate::{
    control_socket::{
        Answer, Asked, Request,
        messages::{HostStatus, Status, ViewerStatus},
    },
    ems,
    hosts::{Host, HostId},
};

impl Agent<'_> {
    /// Does what is asked.
    pub(super) fn answer(&mut self, asked: Asked) {
        let answer = match &asked.request {
            Request::Status {} => Answer::success("The camera's state", self.status()),
            Request::StartWebRtc(parameters) => ems::start(&mut self.hosts, parameters, &self.room),
            Request::ListConfig(parameters) => ems::list(&self.hosts, parameters),
            Request::StopWebRtc(parameters) => {
                let (answer, left) = ems::stop(&mut self.hosts, parameters);
                self.leave(left);
                answer
            }
            Request::RemoveConfig(parameters) => {
                let (answer, left) = ems::remove(&mut self.hosts, parameters);
                self.leave(left);
                answer
            }
        };
        asked.answer(answer);
        self.notifier.status(&self.describe());
    }

    /// Ends the sessions of rooms that were left, then their connections.
    fn leave(&mut self, rooms: Vec<(HostId, Host)>) {
        for (id, host) in rooms {
            let sessions = self.sessions.values().filter(|running| running.host == id);
            let ended = sessions.inspect(|it| it.handle.stop(ByeReason::CameraStopping)).count();
            info!("room {} was left on request; {ended} viewers hear bye", host.wish.room);
            self.links.remove(&id);
            tokio::spawn(host.close(SESSIONS_END + CLIENT_END));
        }
    }

    fn status(&self) -> Status {
        let hosts = self.hosts.iter().map(|(id, host)| HostStatus {
            config_id: id.0,
            room: host.wish.room.clone(),
            server: host.server().to_string(),
            hosting: host.is_hosting(),
            since: host.phase.since,
            page: host.server().watch_link(&host.wish.room).map(|link| link.to_string()),
            trouble: host.trouble.clone().filter(|_| !host.is_hosting()),
        });
        let viewers = self.sessions.values().map(|running| ViewerStatus {
            config_id: running.host.0,
            transport: running.transport,
            seconds: running.since.elapsed().as_secs(),
            path_lost: running.handle.is_path_lost(),
        });
        let mut viewers: Vec<_> = viewers.collect();
        viewers.sort_by_key(|viewer| std::cmp::Reverse(viewer.seconds));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            key: self.access.public_key(),
            door: self.access.door(),
            hosts: hosts.collect(),
            max_viewers: self.max_viewers,
            viewers,
        }
    }
}
