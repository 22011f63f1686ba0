//! Connections that are open: how many a tenant has to a server, and which wait to be used again.
//!
//! One pool for the process. Tenants share nothing: the key holds the tenant, the server, the role and a digest of
//! everything else in the connection string.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::server::Server;
use super::session::Session;
use crate::capabilities::connections::{self, Permit};
use crate::capabilities::failure::{ErrorKind, Failure, Result};
use crate::traffic;

/// Connections that one tenant may have to one server and database at a time. A server has 100 by default, for
/// everybody.
const MAX_CONNECTIONS: usize = 20;

/// How long a connection waits to be used again. Below the minute or more after which middle boxes forget it.
const IDLE: Duration = Duration::from_secs(30);

static POOL: LazyLock<Mutex<HashMap<Key, Arc<Place>>>> = LazyLock::new(Mutex::default);

#[derive(PartialEq, Eq, Hash)]
struct Key {
    tenant: String,
    address: String,
    digest: [u8; 32],
}

struct Place {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Kept>>,
}

/// A session that nobody uses.
struct Kept {
    session: Session,
    connection: Permit,
    since: Instant,
}

/// A connection out of the pool. Dropped with its session, it goes back.
pub struct Lease {
    tenant: String,
    session: Option<Session>,
    /// Nothing is on its way in either direction. A call whose future was dropped leaves it unset.
    is_settled: bool,
    place: Arc<Place>,
    permit: Option<OwnedSemaphorePermit>,
    connection: Option<Permit>,
}

impl Lease {
    /// An idle connection of the same tenant, server and login, or a new one; in its transaction.
    pub async fn take(tenant: &str, server: &Server, snapshot: Option<&str>) -> Result<Self> {
        let place = place(tenant, server);
        let permit = place.permits.clone().acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(server.connect_timeout, permit).await else {
            return Err(Failure::new(
                ErrorKind::Unavailable,
                format!(
                    "{MAX_CONNECTIONS} connections to `{}` are in use",
                    server.address()
                ),
            )
            .hint("lower `parallelism`, or let fewer jobs run at a time"));
        };
        let mut lease = Self {
            tenant: tenant.to_owned(),
            session: None,
            is_settled: true,
            place,
            permit: Some(permit),
            connection: None,
        };
        while let Some((mut session, connection)) = lease.place.idle() {
            // A connection that broke while it was idle is no news, unless the snapshot is what fails.
            if session.begin(snapshot).await.is_ok() {
                lease.session = Some(session);
                lease.connection = Some(connection);
                return Ok(lease);
            }
        }
        lease.connection = Some(connection(tenant, server).await?);
        let mut session = Session::open(server).await?;
        session.begin(snapshot).await?;
        lease.session = Some(session);
        Ok(lease)
    }

    /// The session, for one call that [`Self::settle`] ends.
    pub fn session(&mut self) -> Result<&mut Session> {
        self.is_settled = false;
        self.session.as_mut().ok_or_else(|| {
            Failure::new(
                ErrorKind::Unavailable,
                "the connection was lost in an earlier call",
            )
        })
    }

    /// The call ended, and the connection can be used again.
    pub fn settle(&mut self) {
        self.is_settled = true;
    }

    /// Counts what came over the connection.
    pub fn count_traffic(&mut self) {
        if let Some(session) = &mut self.session {
            traffic::count(&self.tenant, session.wire.take_came());
        }
    }

    /// Closes the connection: its state is not known any more.
    pub fn spoil(&mut self) {
        self.session = None;
        self.connection = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let session = self.session.take().filter(|_| self.is_settled);
        let (Some(mut session), Some(connection), Ok(runtime)) = (
            session,
            self.connection.take(),
            tokio::runtime::Handle::try_current(),
        ) else {
            return;
        };
        let (place, permit) = (self.place.clone(), self.permit.take());
        runtime.spawn(async move {
            if session.reset().await.is_ok() {
                place.keep(session, connection);
            }
            drop(permit);
            tokio::time::sleep(IDLE).await;
            place.close_old();
        });
    }
}

impl Place {
    fn idle(&self) -> Option<(Session, Permit)> {
        self.close_old();
        self.lock()
            .pop()
            .map(|kept| (kept.session, kept.connection))
    }

    fn close_old(&self) {
        self.lock().retain(|kept| kept.since.elapsed() < IDLE);
    }

    /// Keeps a session for the next one, but where somebody waits for a connection.
    fn keep(&self, session: Session, connection: Permit) {
        let mut idle = self.lock();
        if !connections::are_sessions_wanted() {
            idle.push(Kept {
                session,
                connection,
                since: Instant::now(),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place for one more connection of this process; idle ones of anybody make room.
async fn connection(tenant: &str, server: &Server) -> Result<Permit> {
    let taking = connections::session(tenant, server.connect_timeout);
    let mut taking = pin!(taking);
    if let Some(taken) = taking.as_mut().now_or_never() {
        return taken;
    }
    let places: Vec<_> = pool().values().cloned().collect();
    places.iter().for_each(|place| place.lock().clear());
    taking.await
}

fn pool() -> MutexGuard<'static, HashMap<Key, Arc<Place>>> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(tenant: &str, server: &Server) -> Arc<Place> {
    let password = server.password.as_ref().map_or("", |password| &password.0);
    let mut digest = Sha256::new();
    digest.update(format!("{server:?}"));
    digest.update([0]);
    digest.update(password);
    let key = Key {
        tenant: tenant.to_owned(),
        address: server.address(),
        digest: digest.finalize().into(),
    };
    let new = || {
        Arc::new(Place {
            permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            idle: Mutex::default(),
        })
    };
    pool().entry(key).or_insert_with(new).clone()
}
