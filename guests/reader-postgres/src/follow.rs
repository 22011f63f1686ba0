//! An incremental run on a server: which rows are new, and what the next run has to know.

use dativo_connector::{Error, ErrorKind, Result, log};

use crate::incremental::{Cursor, Now, State, Window};
use crate::server::Server;
use crate::sql::Sql;

/// What a run has to read.
pub struct Follow {
    /// Of all rows of the run.
    pub filter: Sql,
    pub has_rows: bool,
    /// Whether an index finds the rows, so that they are not worth several splits.
    pub is_small: bool,
    cursor: Cursor,
    from: String,
    state: State,
    /// Whether the position that this run reaches has still to be asked for.
    is_open: bool,
    /// Asks for the least cursor of the rows that wait for the next run.
    waiting: Option<Sql>,
}

impl Follow {
    /// Prepares a run over the rows of `from` that meet `filter`. `tables` are the oids of what holds them, where rows
    /// show the transaction that wrote them; `last` is the state of the last committed run.
    pub fn new(
        server: &Server,
        cursor: &Cursor,
        from: &str,
        filter: Sql,
        tables: Option<&[u32]>,
        last: Option<&State>,
    ) -> Result<Self> {
        let mut follow = Self {
            filter,
            has_rows: true,
            is_small: false,
            from: from.to_owned(),
            state: State {
                columns: cursor.names(),
                position: last.and_then(|last| last.position.clone()),
                ..State::default()
            },
            cursor: cursor.clone(),
            is_open: false,
            waiting: None,
        };
        match tables {
            Some(tables) => follow.by_transactions(server, tables, last)?,
            None => follow.by_position(server)?,
        }
        Ok(follow)
    }

    fn by_transactions(
        &mut self,
        server: &Server,
        tables: &[u32],
        last: Option<&State>,
    ) -> Result<()> {
        let now = now(server)?;
        let known = last.map_or(&[][..], |last| last.tables.as_slice());
        let added: Vec<u32> = tables
            .iter()
            .copied()
            .filter(|table| !known.contains(table))
            .collect();
        self.state.tables = tables.to_vec();
        self.state.horizon = Some(now.horizon);
        self.state.system.clone_from(&now.system);
        if now.next > now.horizon {
            log::write(
                log::Level::Info,
                &format!(
                    "transaction {} was not over when the run began: rows that it or a later one wrote come with the next run",
                    now.horizon
                ),
            );
        }
        let window = Window::new(last, &now);
        let floor = match (&window, added.is_empty()) {
            (Window::Since(_), true) => self.cursor.floor(last),
            // Where whole tables are read, an index saves nothing.
            _ => Vec::new(),
        };
        if let (true, Some(waiting)) = (self.cursor.has_lag(), now.waiting()) {
            let mut filter = self.filter.clone();
            filter.and().push(&waiting);
            self.cursor.within_lag(&floor, &mut filter)?;
            self.waiting = Some(self.cursor.least(&self.from, &filter));
        }
        let (filter, position) = (&mut self.filter, self.state.position.as_deref());
        match window {
            Window::First => {
                hold(&now, filter);
                self.is_open = true;
                return Ok(());
            }
            Window::Nothing => {
                self.has_rows = false;
                return Ok(());
            }
            Window::Since(start) => {
                now.new_since(start, &added, &self.cursor, &floor, filter)?;
                self.is_small = !floor.is_empty();
                if !self.is_small {
                    log::write(
                        log::Level::Debug,
                        "without `lag`, or with a new partition, whole tables are looked through for new rows",
                    );
                }
            }
            Window::Unknown(reason) => {
                log::write(
                    log::Level::Warn,
                    &format!(
                        "{reason}: this run reads what is behind the last position of the cursor; rows that were committed \
                         late with a smaller cursor are missed, and those without a cursor are read again"
                    ),
                );
                hold(&now, filter);
                if let Some(position) = position {
                    self.cursor.beyond_or_null(position, filter);
                }
            }
        }
        self.has_rows = self.advance(server)?;
        Ok(())
    }

    fn by_position(&mut self, server: &Server) -> Result<()> {
        let missing = self.cursor.missing(&self.from, &self.filter);
        if server.row(&missing)?.is(0) {
            let names = self.cursor.names().join("`, `");
            return Err(Error::invalid_data(format!(
                "some rows have no position: one of `{names}` is null or infinite"
            ))
            .hint("leave these rows out with `where`, or name another cursor"));
        }
        let clock = Sql::new(
            "SELECT pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.now()) * 1000)::bigint::text",
        );
        let now_ms = server.row(&clock)?.number(0)?;
        let last = self.state.position.clone();
        let job = self.filter.clone();
        self.cursor.settled(&self.from, now_ms, &mut self.filter);
        self.has_rows = self.advance(server)? && self.state.position != last;
        self.filter = job;
        if let Some(last) = &last {
            self.cursor.beyond(last, &mut self.filter);
            self.is_small = true;
        }
        if let Some(position) = &self.state.position {
            self.cursor.up_to(position, &mut self.filter);
        }
        Ok(())
    }

    /// Moves the position to the greatest of the rows to read. False where there are none.
    fn advance(&mut self, server: &Server) -> Result<bool> {
        let greatest = self.greatest(server)?;
        let has_rows = greatest.is_some();
        if let Some(Some(position)) = greatest {
            self.state.position = Some(position);
        }
        Ok(has_rows)
    }

    /// The greatest position among the rows to read, where one is behind that of the last run. None where there are no
    /// rows.
    fn greatest(&self, server: &Server) -> Result<Option<Option<Vec<String>>>> {
        let last = self.state.position.as_deref();
        let sql = self.cursor.greatest(&self.from, &self.filter, last);
        let row = server.rows(&sql)?.into_iter().next();
        // A null in the key is no position either: the last one stays.
        let width = self.state.columns.len();
        Ok(row.map(|row| match row.is(0) {
            true => (1..=width)
                .map(|index| row.get(index).map(str::to_owned))
                .collect(),
            false => None,
        }))
    }

    /// What the next run has to know.
    pub fn state(&self, server: &Server) -> Result<State> {
        match self.asked(server) {
            // A first run may take hours, and its rows are worth more than a position: the horizon is what counts.
            Err(error) if error.kind == ErrorKind::Unavailable && self.state.horizon.is_some() => {
                log::write(
                    log::Level::Warn,
                    &format!(
                        "the greatest cursor is not known, so that the next run looks through the whole table: {error}"
                    ),
                );
                Ok(State {
                    position: None,
                    ..self.state.clone()
                })
            }
            state => state,
        }
    }

    fn asked(&self, server: &Server) -> Result<State> {
        let mut state = self.state.clone();
        if self.is_open {
            state.position = self.greatest(server)?.flatten();
        }
        if let Some(waiting) = &self.waiting {
            state.waiting = server.rows(waiting)?.first().map(|row| row.text(0));
        }
        Ok(state)
    }
}

/// Leaves out the row versions that wait.
fn hold(now: &Now, filter: &mut Sql) {
    if let Some(before) = now.before() {
        filter.and().push(&before);
    }
}

fn now(server: &Server) -> Result<Now> {
    let row = server.row(&Sql::new(
        "SELECT pg_catalog.txid_snapshot_xmin(s)::text, pg_catalog.txid_snapshot_xmax(s)::text, \
         pg_catalog.pg_is_in_recovery(), pg_catalog.has_function_privilege(\
         pg_catalog.to_regprocedure('pg_catalog.pg_control_system()'), 'EXECUTE')\n\
         FROM pg_catalog.txid_current_snapshot() AS s",
    ))?;
    let system = match row.is(3) {
        true => {
            let sql = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
            Some(server.row(&Sql::new(sql))?.text(0))
        }
        false => None,
    };
    Ok(Now {
        horizon: row.number(0)?,
        next: row.number(1)?,
        is_replica: row.is(2),
        system,
    })
}
