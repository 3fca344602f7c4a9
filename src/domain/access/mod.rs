//! Who may do what: permissions, roles, grants, principals. Pure.
//!
//! The rule of what a caller is told: names that a request gives itself are judged before they are
//! looked up, so `permission_denied` says nothing of what exists. What is found by an id, or by a
//! snapshot's name alone, does not exist for those who may not read it.

mod approach;
mod caller;
mod credential;
mod named;
mod network;
mod operations;
mod pattern;

use serde::{Deserialize, Serialize};

pub use approach::{Approach, Doors, allowed_host};
pub use caller::{Caller, MAX_SUBJECTS, Touched};
pub use credential::{bearer, milvus};
pub use named::Named;
pub use network::{Network, caller_address};
pub use operations::{Access, OPERATIONS, needed};
pub use pattern::Pattern;

use super::id::KeyId;

/// What a call does to what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Look.
    Read,
    /// What the engine does: collections, partitions, segments, indexes, aliases, positions.
    Write,
    /// Snapshots, pins, restores and their jobs.
    Operate,
    /// Databases, the collector, keys, the audit log.
    Administer,
}

impl Permission {
    /// As it stands in errors and in the audit log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Operate => "operate",
            Self::Administer => "administer",
        }
    }
}

/// Permissions under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Reader,
    Writer,
    Operator,
    Admin,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Reader, Role::Writer, Role::Operator, Role::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Everybody with a role may read.
    pub fn permits(self, permission: Permission) -> bool {
        match self {
            Self::Reader => permission == Permission::Read,
            Self::Writer => matches!(permission, Permission::Read | Permission::Write),
            Self::Operator => matches!(permission, Permission::Read | Permission::Operate),
            Self::Admin => true,
        }
    }
}

/// A role on the collections whose names, and whose databases' names, are of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub role: Role,
    pub db_name: Pattern,
    pub collection_name: Pattern,
}

impl Grant {
    /// A role on everything.
    pub fn everywhere(role: Role) -> Self {
        Self {
            role,
            db_name: Pattern::any(),
            collection_name: Pattern::any(),
        }
    }

    /// Reads `ROLE`, `ROLE@DB` or `ROLE@DB/COLLECTION`, where DB and COLLECTION are patterns.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (role, scope) = text.split_once('@').unwrap_or((text, "*"));
        let role = Role::ALL.into_iter().find(|r| r.as_str() == role).ok_or_else(|| {
            format!("{role:?} is no role; expected reader, writer, operator or admin, and @DB or @DB/COLLECTION behind it where it is not for everything")
        })?;
        let (db, collection) = scope.split_once('/').unwrap_or((scope, "*"));
        Ok(Self {
            role,
            db_name: Pattern::parse(db)?,
            collection_name: Pattern::parse(collection)?,
        })
    }

    fn on_everything(&self) -> bool {
        self.db_name.is_any() && self.collection_name.is_any()
    }
}

/// How somebody showed who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalKind {
    /// Not authenticated; only for the audit log.
    Nobody,
    /// Authentication is off.
    Anybody,
    Key,
    /// A bearer token of the OpenID provider.
    Token,
    /// This service itself.
    Service,
}

impl PrincipalKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Anybody => "anybody",
            Self::Key => "key",
            Self::Token => "token",
            Self::Service => "service",
        }
    }
}

/// Who calls, and what they are granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub kind: PrincipalKind,
    /// Name of the key, or subject of the token.
    pub name: String,
    pub key_id: Option<KeyId>,
    pub grants: Vec<Grant>,
}

impl Principal {
    /// Somebody without a name who may do everything.
    pub fn unrestricted(kind: PrincipalKind) -> Self {
        Self {
            kind,
            name: String::new(),
            key_id: None,
            grants: vec![Grant::everywhere(Role::Admin)],
        }
    }

    /// For people: `key ci (470700000000000700)`, `token alice`, `anybody`.
    pub fn label(&self) -> String {
        match (&self.name, self.key_id) {
            (name, Some(id)) => format!("{} {name} ({id})", self.kind.as_str()),
            (name, None) if !name.is_empty() => format!("{} {name}", self.kind.as_str()),
            _ => self.kind.as_str().into(),
        }
    }

    /// Whose requests are counted and whose keys of repeated calls are kept apart; none: everybody is one.
    pub fn client_id(&self) -> Option<String> {
        match (self.kind, self.key_id) {
            (PrincipalKind::Key, Some(id)) => Some(format!("key {id}")),
            (PrincipalKind::Key | PrincipalKind::Token, _) => Some(self.label()),
            (PrincipalKind::Nobody | PrincipalKind::Anybody | PrincipalKind::Service, _) => None,
        }
    }

    /// Whether a permission is granted on a collection, by names.
    pub fn may(&self, permission: Permission, db_name: &str, collection_name: &str) -> bool {
        self.grants
            .iter()
            .any(|g| g.role.permits(permission) && g.db_name.matches(db_name) && g.collection_name.matches(collection_name))
    }

    /// Whether a permission is granted on some collection of a database.
    pub fn may_in(&self, permission: Permission, db_name: &str) -> bool {
        self.grants
            .iter()
            .any(|g| g.role.permits(permission) && g.db_name.matches(db_name))
    }

    /// Whether a permission is granted on every collection of a database.
    pub fn may_on_all_of(&self, permission: Permission, db_name: &str) -> bool {
        self.grants
            .iter()
            .any(|g| g.role.permits(permission) && g.db_name.matches(db_name) && g.collection_name.is_any())
    }

    /// Whether a permission is granted on everything.
    pub fn may_everywhere(&self, permission: Permission) -> bool {
        self.grants.iter().any(|g| g.role.permits(permission) && g.on_everything())
    }

    /// Whether a permission is granted on anything at all.
    pub fn may_somewhere(&self, permission: Permission) -> bool {
        self.grants.iter().any(|g| g.role.permits(permission))
    }
}

/// What a list may show: pairs of `like` patterns of database and collection; none: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible(Option<(Vec<String>, Vec<String>)>);

impl Visible {
    /// What somebody may read.
    pub fn to(principal: &Principal) -> Self {
        if principal.may_everywhere(Permission::Read) {
            return Self(None);
        }
        let pairs = principal.grants.iter().map(|g| (g.db_name.like(), g.collection_name.like()));
        Self(Some(pairs.unzip()))
    }

    pub fn databases(&self) -> Option<&[String]> {
        self.0.as_ref().map(|(databases, _)| databases.as_slice())
    }

    pub fn collections(&self) -> Option<&[String]> {
        self.0.as_ref().map(|(_, collections)| collections.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_and_judged() {
        let grant = Grant::parse("operator@team_a/*_prod").expect("a grant");
        let operator = Principal {
            kind: PrincipalKind::Key,
            name: "x".into(),
            key_id: None,
            grants: vec![grant],
        };
        assert!(operator.may(Permission::Operate, "team_a", "docs_prod"));
        assert!(operator.may(Permission::Read, "team_a", "docs_prod"));
        assert!(!operator.may(Permission::Write, "team_a", "docs_prod"));
        assert!(!operator.may(Permission::Operate, "team_a", "docs_test"));
        assert!(!operator.may(Permission::Operate, "team_ab", "docs_prod"));
        assert!(operator.may_in(Permission::Operate, "team_a") && !operator.may_on_all_of(Permission::Operate, "team_a"));
        assert!(!operator.may_everywhere(Permission::Read));
        assert!(Grant::parse("admin").expect("a grant").on_everything());
        for wrong in ["", "boss", "reader@", "reader@a/", "reader@a b", "reader@a/b/c"] {
            assert!(Grant::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_role_of_one_collection_sees_only_it() {
        let mut principal = Principal::unrestricted(PrincipalKind::Key);
        assert_eq!(Visible::to(&principal), Visible::default());
        principal.grants = vec![Grant::parse("reader@a/b_*").expect("a grant")];
        let visible = Visible::to(&principal);
        assert_eq!(visible.databases(), Some(&["a".to_string()][..]));
        assert_eq!(visible.collections(), Some(&["b\\_%".to_string()][..]));
    }
}
