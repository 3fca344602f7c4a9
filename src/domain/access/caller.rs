//! One call of a principal: what it may touch, and what it has touched.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{Access, Permission, Principal, PrincipalKind, Visible, needed};
use crate::domain::{Code, Error, Result};

/// What a call was about, for the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Whether the caller's rights were looked at.
    pub judged: bool,
    /// The first database.
    pub db_name: Option<String>,
    /// The first collection.
    pub collection_name: Option<String>,
    /// Names of snapshots, partitions, indexes and the like, ids of segments, jobs and keys.
    pub subjects: Vec<String>,
}

/// Subjects of one call that are noted at most.
pub const MAX_SUBJECTS: usize = 20;
/// Characters of one.
pub(super) const MAX_SUBJECT: usize = 300;
/// Of these so many are named when there are more of one kind.
const NAMED: usize = 5;

impl Touched {
    /// Notes a thing, once.
    pub(super) fn note(&mut self, subject: impl Into<String>) {
        let subject = short(&subject.into());
        if self.subjects.len() < MAX_SUBJECTS && !self.subjects.contains(&subject) {
            self.subjects.push(subject);
        }
    }

    /// Notes a database: the first one is what the call was on.
    pub(super) fn note_database(&mut self, name: &str) {
        let name = short(name);
        match &self.db_name {
            None => self.db_name = Some(name),
            Some(first) if *first == name => {}
            Some(_) => self.note(format!("database {name:?}")),
        }
    }

    /// Notes a collection: the first one is what the call was on.
    pub(super) fn note_collection(&mut self, name: &str) {
        let name = short(name);
        match &self.collection_name {
            None => self.collection_name = Some(name),
            Some(first) if *first == name => {}
            Some(_) => self.note(format!("collection {name:?}")),
        }
    }
}

/// A name as it is recorded: names are noted before they are checked.
fn short(name: &str) -> String {
    name.chars().take(MAX_SUBJECT).collect()
}

/// One call: who makes it, and the permission that its operation needs. Clones are the same call.
#[derive(Debug, Clone)]
pub struct Caller {
    principal: Arc<Principal>,
    permission: Permission,
    touched: Arc<Mutex<Touched>>,
}

impl Caller {
    /// The service itself, which may do everything.
    pub fn service() -> Self {
        Self {
            principal: Arc::new(Principal::unrestricted(PrincipalKind::Service)),
            permission: Permission::Administer,
            touched: Arc::default(),
        }
    }

    /// A principal that calls an operation, by its id. What is granted nowhere is refused here,
    /// before anything is looked up. `open_monitoring`: metrics are for everybody.
    ///
    /// # Errors
    /// `permission_denied`, for an operation that has no entry too.
    pub fn new(principal: Arc<Principal>, operation: &str, open_monitoring: bool) -> Result<Self> {
        let access = needed(operation).ok_or_else(|| {
            Code::PermissionDenied.error(format!(
                "nobody may call {operation:?}: it has no entry in the table of operations"
            ))
        })?;
        let caller = Self {
            principal,
            permission: access.permission().unwrap_or(Permission::Read),
            touched: Arc::default(),
        };
        match access {
            Access::Open => caller.judged(|_| ()),
            Access::Monitoring if open_monitoring => caller.judged(|_| ()),
            Access::Everywhere(permission) => caller.need_everywhere(permission)?,
            Access::Monitoring => caller.need_everywhere(Permission::Read)?,
            Access::ByName(permission) if !caller.principal.may_somewhere(permission) => {
                return Err(Code::PermissionDenied.error(format!(
                    "this needs the permission {:?}, which you have nowhere",
                    permission.as_str()
                )));
            }
            Access::ByName(_) => {}
        }
        Ok(caller)
    }

    /// The same principal calling another operation, beside this one.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn calling(&self, operation: &str) -> Result<Self> {
        Self::new(self.principal.clone(), operation, false)
    }

    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// The permission that the operation needs.
    pub fn permission(&self) -> Permission {
        self.permission
    }

    /// The answer is one that the same principal was given before to the same call: its rights were
    /// looked at then. `about`: what that call was about.
    pub fn is_repeated(&self, about: Option<Touched>) {
        self.judged(|touched| {
            *touched = Touched {
                judged: true,
                ..about.unwrap_or_default()
            };
        });
    }

    /// What it has been about so far.
    pub fn touched(&self) -> Touched {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the call is about, for the audit log.
    pub fn note(&self, subject: impl Into<String>) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).note(subject);
    }

    /// Notes several things of one kind: each of a few, else the first and how many there are.
    pub fn note_all(&self, kind: &str, ids: impl ExactSizeIterator<Item = i64>) {
        let count = ids.len();
        for id in ids.take(NAMED) {
            self.note(format!("{kind} {id}"));
        }
        if count > NAMED {
            self.note(format!("{count} {kind}s in all"));
        }
    }

    fn judged(&self, note: impl FnOnce(&mut Touched)) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.judged = true;
        note(&mut touched);
    }

    fn judge(&self, db_name: &str, collection_name: Option<&str>) {
        self.judged(|touched| {
            touched.db_name.get_or_insert_with(|| short(db_name));
            if let Some(name) = collection_name {
                touched.collection_name.get_or_insert_with(|| short(name));
            }
        });
    }

    /// Whether things of a collection exist for the caller.
    pub fn sees(&self, db_name: &str, collection_name: &str) -> bool {
        self.judged(|_| ());
        self.principal.may(Permission::Read, db_name, collection_name)
    }

    /// What lists may show.
    pub fn visible(&self) -> Visible {
        self.judged(|_| ());
        Visible::to(&self.principal)
    }

    /// The operation's permission on a collection, by the names that the request gives.
    ///
    /// # Errors
    /// `permission_denied`, whether or not there is such a collection.
    pub fn need_collection(&self, db_name: &str, collection_name: &str) -> Result<()> {
        self.need_named(db_name, collection_name, collection_name)
    }

    /// The same on what a name stands for: the error tells the name that was given.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn need_named(&self, db_name: &str, given: &str, meant: &str) -> Result<()> {
        self.judge(db_name, Some(meant));
        self.judged(|touched| {
            // an alias was noted before it was known what it stands for
            if touched.collection_name.as_deref() == Some(given) {
                touched.collection_name = Some(meant.into());
            }
        });
        if self.principal.may(self.permission, db_name, meant) {
            return Ok(());
        }
        Err(self.denied(&format!("collection {given:?} of database {db_name:?}")))
    }

    /// Another permission than the operation's, on a collection.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn need_also(&self, permission: Permission, db_name: &str, collection_name: &str) -> Result<()> {
        let other = Self {
            permission,
            ..self.clone()
        };
        other.need_collection(db_name, collection_name)
    }

    /// The operation's permission on something in a database: what exactly is judged later, or
    /// filtered by [`Caller::visible`].
    ///
    /// # Errors
    /// `permission_denied`, whether or not there is such a database.
    pub fn need_in_database(&self, db_name: &str) -> Result<()> {
        self.judge(db_name, None);
        if self.principal.may_in(self.permission, db_name) {
            return Ok(());
        }
        Err(self.denied(&format!("database {db_name:?}")))
    }

    /// The operation's permission on a whole database.
    ///
    /// # Errors
    /// `permission_denied`, whether or not there is such a database.
    pub fn need_whole_database(&self, db_name: &str) -> Result<()> {
        self.judge(db_name, None);
        if self.principal.may_on_all_of(self.permission, db_name) {
            return Ok(());
        }
        Err(self.denied(&format!("every collection of database {db_name:?}")))
    }

    /// A permission on everything.
    ///
    /// # Errors
    /// `permission_denied`.
    pub fn need_everywhere(&self, permission: Permission) -> Result<()> {
        self.judged(|_| ());
        if self.principal.may_everywhere(permission) {
            return Ok(());
        }
        Err(Code::PermissionDenied.error(format!(
            "this needs the permission {:?} on every database",
            permission.as_str()
        )))
    }

    fn denied(&self, on: &str) -> Error {
        Code::PermissionDenied.error(format!("this needs the permission {:?} on {on}", self.permission.as_str()))
    }
}
