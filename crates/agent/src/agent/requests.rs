//! What the agent answers on its control socket.

use peercam_protocol::signalling::ByeReason;
use tracing::info;

use super::{Agent, CLIENT_END, SESSIONS_END};
use crate::{
    access::Revoked,
    control_socket::{
        Answer, Asked, Request,
        messages::{HostStatus, Status, ViewerStatus, Wanted},
    },
    device, ems,
    hosts::{Host, HostId},
    share::{self, Place},
};

impl Agent<'_> {
    /// Does what is asked. What has to be written down first is answered when it is.
    pub(super) fn answer(&mut self, asked: Asked) {
        let answer = match &asked.request {
            Request::Share(wanted) => match self.place(wanted) {
                Ok(place) => return self.share(place, wanted.clone(), asked),
                Err(problem) => Answer::failure(problem),
            },
            Request::Revoke { name } => return self.revoke(Some(name.clone()), asked),
            Request::RevokeAll {} => return self.revoke(None, asked),
            Request::Shares {} => Answer::success("What was shared", self.access.shares()),
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

    /// The room that is meant, and where viewers find it. An error says in words why there is none.
    fn place(&self, wanted: &Wanted) -> Result<Place, String> {
        let host = match &wanted.room {
            // Where it is found there now, rather than where it may be.
            Some(room) => {
                let mut hosts: Vec<_> = self.hosts.iter().map(|(_, host)| host).collect();
                hosts.retain(|host| host.wish.room == *room);
                let host = hosts.iter().find(|host| host.is_hosting()).or(hosts.first()).copied();
                Some(host.ok_or_else(|| {
                    format!("the camera does not wait in the room {room}: see peercamctl status")
                })?)
            }
            None => self.hosts.iter().next().map(|(_, host)| host),
        };
        let host = host.ok_or(
            "the camera waits in no room: set rendezvous.urls, or use peercamctl startWebRTC",
        )?;
        let origin = match &wanted.server {
            Some(server) => server.clone(),
            None => host.server().origin().ok_or_else(|| {
                let server = host.server();
                format!("{server} has a path, links have none: name the server as viewers see it")
            })?,
        };
        Ok(Place { origin, room: host.wish.room.clone() })
    }

    fn share(&self, place: Place, wanted: Wanted, asked: Asked) {
        let access = self.access.clone();
        tokio::spawn(async move {
            let made = async {
                let link = place.link()?;
                let terms = place.terms(&wanted);
                let minted = access.share(&terms, wanted.label).await;
                let minted = minted.map_err(|error| error.to_string())?;
                Ok::<_, String>(share::shared(link, access.public_key(), minted))
            };
            asked.answer(match made.await {
                Ok(shared) => Answer::success("Who has this link may watch", shared),
                Err(problem) => Answer::failure(problem),
            });
        });
    }

    /// One token or label, or all.
    fn revoke(&self, name: Option<String>, asked: Asked) {
        let access = self.access.clone();
        tokio::spawn(async move {
            let revoked = match &name {
                None => access.revoke_all().await.map(|count| {
                    Answer::success("All links that were made up to now are revoked", count)
                }),
                Some(name) => access.revoke(name).await.map(|revoked| match revoked {
                    Revoked::Shares(count) => Answer::success("Revoked", count),
                    Revoked::Unknown => Answer::success(
                        "This camera shared nothing by that name; if it is the id of a token \
                         that an owner's key signed, that one is revoked",
                        0,
                    ),
                }),
            };
            asked.answer(revoked.unwrap_or_else(|error| Answer::failure(error.to_string())));
        });
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
            safe_mode: self.notifier.safe_mode().map(str::to_owned),
            device: self.notifier.watchdog_status().and_then(device::read),
            key: self.access.public_key(),
            door: self.access.door(),
            hosts: hosts.collect(),
            max_viewers: self.max_viewers,
            viewers,
        }
    }
}
