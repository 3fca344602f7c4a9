//! Collections and their partitions.

use std::collections::HashSet;

use super::paths::{check_name, collection, database, gone, partition};
use super::{Service, commit};
use crate::domain::access::{Caller, Permission};
use crate::domain::collection::{Channel, Collection, DEFAULT_PARTITION, Ownership, Partition};
use crate::domain::id::{CollectionId, PartitionId};
use crate::domain::page::{Page, PageRequest};
use crate::domain::schema::{CONSISTENCY_LEVELS, Params, Schema};
use crate::domain::{Code, Error, FieldError, Result, name};
use crate::store::collections::Statistics;
use crate::store::names::NameKind;
use crate::store::segments::DropScope;
use crate::store::{self, PgConnection};

/// A collection to be created. Ids that are given are kept, others are allocated.
#[derive(Debug, Clone)]
pub struct NewCollection {
    pub db_name: String,
    pub name: String,
    pub collection_id: Option<CollectionId>,
    pub ownership: Ownership,
    pub num_shards: i32,
    pub consistency_level: String,
    pub schema: Schema,
    pub properties: Params,
    /// Name and id; the default partition when empty.
    pub partitions: Vec<(String, Option<PartitionId>)>,
    /// By shard number; generated when empty.
    pub channels: Vec<Channel>,
}

/// Everything about a collection.
#[derive(Debug, Clone)]
pub struct CollectionDescription {
    pub collection: Collection,
    pub partitions: Vec<Partition>,
    pub channels: Vec<Channel>,
    pub aliases: Vec<String>,
    pub statistics: Statistics,
}

/// A change of a collection.
#[derive(Debug, Clone, Default)]
pub struct CollectionChange {
    pub name: Option<String>,
    /// To set; none removes a property.
    pub properties: Vec<(String, Option<String>)>,
}

/// Partitions of a collection at most, as in Milvus.
const MAX_PARTITIONS: usize = 4096;

/// Name of the channel of a shard of a collection that brings no channels of its own.
pub(super) fn channel_name(collection: CollectionId, shard_no: i32) -> String {
    format!("stillframe-dml_{shard_no}_{collection}v{shard_no}")
}

impl Service {
    /// Creates a collection with its partitions and channels.
    ///
    /// # Errors
    /// `invalid_request`, `database_not_found`, `collection_already_exists`,
    /// `partition_already_exists`.
    pub async fn create_collection(&self, new: NewCollection) -> Result<CollectionDescription> {
        self.caller.need_collection(&new.db_name, &new.name)?;
        if new.collection_id.is_some() || new.partitions.iter().any(|(_, id)| id.is_some()) {
            self.may_choose_ids()?;
        }
        if new.ownership == Ownership::External {
            // files of another system, of which this catalog does not know whose they are
            self.caller.need_everywhere(Permission::Administer).map_err(|_| {
                Code::PermissionDenied.error(
                    "a collection of another system (ownership external) needs the permission \"administer\" on every database",
                )
            })?;
        }
        check_collection(&new, new.schema.check_new(""))?;
        let mut tx = self.begin().await?;
        let db = database(&mut tx, &self.caller, &new.db_name).await?;
        let spare = store::catalog::allocate_ids(&mut tx, 2 + new.partitions.len() as i64).await?;
        let collection_id = new.collection_id.unwrap_or(CollectionId(spare));
        let record = Collection {
            collection_id,
            db_id: db.db_id,
            db_name: db.name,
            name: new.name.clone(),
            ownership: new.ownership,
            dropped: false,
            num_shards: new.num_shards,
            consistency_level: new.consistency_level,
            schema: new.schema,
            properties: new.properties,
            created_at: db.created_at,
        };
        store::collections::insert(&mut tx, &record, false).await?;
        store::names::take(&mut tx, db.db_id, &new.name, NameKind::Collection, collection_id, || {
            Code::CollectionAlreadyExists.error(format!(
                "the name {:?} is taken by a collection, an alias or a running restore",
                new.name
            ))
        })
        .await?;
        let mut partitions = new.partitions;
        if partitions.is_empty() {
            partitions.push((DEFAULT_PARTITION.to_string(), None));
        }
        for (at, (name, id)) in partitions.into_iter().enumerate() {
            let partition_id = id.unwrap_or(PartitionId(spare + 1 + at as i64));
            store::partitions::insert(&mut tx, collection_id, &Partition { partition_id, name }).await?;
        }
        let mut channels = new.channels;
        if channels.is_empty() {
            let generated = |shard_no| Channel {
                channel_name: channel_name(collection_id, shard_no),
                shard_no,
                seek_position: None,
            };
            channels = (0..new.num_shards).map(generated).collect();
        }
        for channel in &channels {
            store::channels::insert(&mut tx, collection_id, channel).await?;
        }
        let described = describe(&mut tx, &self.caller, &new.db_name, &new.name).await?;
        commit(tx).await?;
        Ok(described)
    }

    /// Describes a living collection.
    ///
    /// # Errors
    /// `database_not_found`, `collection_not_found`.
    pub async fn describe_collection(&self, db_name: &str, name: &str) -> Result<CollectionDescription> {
        describe(&mut *self.conn().await?, &self.caller, db_name, name).await
    }

    /// Lists living collections by name.
    pub async fn list_collections(&self, db_name: &str, prefix: &str, page: &PageRequest) -> Result<Page<Collection>> {
        let list = format!("collections?{db_name}&{prefix}");
        let after: Option<String> = page.cursor(&list)?;
        let mut conn = self.conn().await?;
        let db = database(&mut conn, &self.caller, db_name).await?;
        let items = store::collections::list(
            &mut conn,
            db.db_id,
            &self.caller.visible(),
            prefix,
            after.as_deref(),
            page.limit(),
        )
        .await?;
        Ok(page.page(&list, items, |c| c.name.clone()))
    }

    /// Renames a collection or changes its properties.
    ///
    /// # Errors
    /// `collection_not_found`, `collection_already_exists` for the new name, `invalid_request`.
    pub async fn change_collection(&self, db_name: &str, name: &str, change: CollectionChange) -> Result<CollectionDescription> {
        self.caller.need_collection(db_name, name)?;
        if let Some(new_name) = &change.name {
            self.caller.need_collection(db_name, new_name)?;
            check_name("/name", new_name)?;
            self.caller.note(format!("new name {new_name:?}"));
        }
        let mut tx = self.begin().await?;
        let mut found = lock_by_name(&mut tx, &self.caller, db_name, name).await?;
        for (key, value) in change.properties {
            match value {
                Some(value) => found.properties.insert(key, value),
                None => found.properties.remove(&key),
            };
        }
        store::collections::set_properties(&mut tx, found.collection_id, &found.properties).await?;
        if let Some(new_name) = change.name.filter(|n| *n != found.name) {
            store::names::rename(&mut tx, found.db_id, found.collection_id, &new_name).await?;
            found.name = new_name;
        }
        let described = describe(&mut tx, &self.caller, db_name, &found.name).await?;
        commit(tx).await?;
        Ok(described)
    }

    /// Drops a collection. Its snapshots stay, with everything they need, unless `cascade`.
    ///
    /// # Errors
    /// `collection_not_found`; with `cascade` also `snapshot_being_restored`.
    pub async fn drop_collection(&self, db_name: &str, name: &str, cascade: bool) -> Result<()> {
        let mut tx = self.begin().await?;
        let found = lock_by_name(&mut tx, &self.caller, db_name, name).await?;
        if cascade {
            self.caller.need_also(Permission::Operate, db_name, name)?;
            store::snapshots::abandon_pending(&mut tx, found.collection_id).await?;
            for snapshot in store::snapshots::of_collection(&mut tx, found.collection_id).await? {
                super::snapshots::drop_locked(&mut tx, snapshot.into()).await?;
            }
        }
        store::names::release(&mut tx, found.collection_id).await?;
        store::collections::mark_dropped(&mut tx, found.collection_id).await?;
        store::segments::drop(&mut tx, found.collection_id, DropScope::Collection).await?;
        commit(tx).await
    }

    /// Creates a partition.
    ///
    /// # Errors
    /// `invalid_request`, `collection_not_found`, `partition_already_exists`.
    pub async fn create_partition(
        &self,
        db_name: &str,
        collection_name: &str,
        name: &str,
        id: Option<PartitionId>,
    ) -> Result<Partition> {
        check_name("/name", name)?;
        self.caller.need_collection(db_name, collection_name)?;
        self.caller.note(format!("partition {name:?}"));
        if id.is_some() {
            self.may_choose_ids()?;
        }
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::hold(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        let partition_id = match id {
            Some(id) => id,
            None => PartitionId(store::catalog::allocate_ids(&mut tx, 1).await?),
        };
        let partition = Partition {
            partition_id,
            name: name.to_string(),
        };
        store::partitions::insert(&mut tx, found.collection_id, &partition).await?;
        commit(tx).await?;
        Ok(partition)
    }

    /// Finds a partition.
    ///
    /// # Errors
    /// `collection_not_found`, `partition_not_found`.
    pub async fn partition(&self, db_name: &str, collection_name: &str, name: &str) -> Result<Partition> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        partition(&mut conn, &found, name).await
    }

    /// Lists partitions by name.
    pub async fn list_partitions(&self, db_name: &str, collection_name: &str, page: &PageRequest) -> Result<Page<Partition>> {
        let mut conn = self.conn().await?;
        let found = collection(&mut conn, &self.caller, db_name, collection_name).await?;
        let list = format!("partitions?{}", found.collection_id);
        let after: Option<String> = page.cursor(&list)?;
        let items = store::partitions::list(&mut conn, found.collection_id, after.as_deref(), Some(page.limit())).await?;
        Ok(page.page(&list, items, |p| p.name.clone()))
    }

    /// Drops a partition and its segments. What snapshots need of them stays.
    ///
    /// # Errors
    /// `partition_not_found`, `partition_required` for the default one.
    pub async fn drop_partition(&self, db_name: &str, collection_name: &str, name: &str) -> Result<()> {
        self.caller.note(format!("partition {name:?}"));
        let mut tx = self.begin().await?;
        let found = collection(&mut tx, &self.caller, db_name, collection_name).await?;
        if !store::collections::lock(&mut tx, found.collection_id).await? {
            return Err(gone(&found));
        }
        let partition = partition(&mut tx, &found, name).await?;
        if name == DEFAULT_PARTITION {
            return Err(Code::PartitionRequired.error("the default partition can't be dropped"));
        }
        store::partitions::mark_dropped(&mut tx, partition.partition_id).await?;
        store::segments::drop(&mut tx, found.collection_id, DropScope::Partition(partition.partition_id)).await?;
        commit(tx).await
    }
}

impl Service {
    /// Ids in paths say whose files they are. Whoever may write everywhere may choose them, as an
    /// engine does that has its own; the others get new ones, under which nobody's files lie.
    fn may_choose_ids(&self) -> Result<()> {
        self.caller.need_everywhere(Permission::Write).map_err(|_| {
            Code::PermissionDenied
                .error("choosing ids needs the permission \"write\" on every database; leave them out to get new ones")
        })
    }
}

/// Locks a collection for a change, and reads it again under the lock. An alias names a
/// collection when it is read; changing or dropping one through it surprises somebody.
async fn lock_by_name(conn: &mut PgConnection, caller: &Caller, db_name: &str, name: &str) -> Result<Collection> {
    let found = collection(conn, caller, db_name, name).await?;
    if !store::collections::lock(conn, found.collection_id).await? {
        return Err(gone(&found));
    }
    let again = collection(conn, caller, db_name, name).await?;
    if again.collection_id != found.collection_id {
        return Err(gone(&found));
    }
    if again.name != name {
        return Err(Code::CollectionNotFound.error(format!(
            "{name:?} is an alias of {:?}; name the collection itself",
            again.name
        )));
    }
    Ok(again)
}

async fn describe(conn: &mut PgConnection, caller: &Caller, db_name: &str, name: &str) -> Result<CollectionDescription> {
    let found = collection(conn, caller, db_name, name).await?;
    let id = found.collection_id;
    let aliases = store::names::list_aliases(conn, found.db_id, Some(id), &caller.visible(), None, i64::MAX).await?;
    Ok(CollectionDescription {
        partitions: store::partitions::list(conn, id, None, None).await?,
        channels: store::channels::list(conn, id).await?,
        aliases: aliases.into_iter().map(|a| a.alias).collect(),
        statistics: store::collections::statistics(conn, id).await?,
        collection: found,
    })
}

/// Checks a collection, of whose schema these breaches are known.
pub(super) fn check_collection(new: &NewCollection, mut errors: Vec<FieldError>) -> Result<()> {
    let mut refuse = |pointer: String, why: String| errors.push(FieldError::new(pointer, why));
    if let Err(why) = name::check(&new.name) {
        refuse("/name".into(), why);
    }
    if !(1..=1024).contains(&new.num_shards) {
        refuse("/num_shards".into(), "must be from 1 to 1024".into());
    }
    if !CONSISTENCY_LEVELS.contains(&new.consistency_level.as_str()) {
        refuse(
            "/consistency_level".into(),
            format!("must be one of {}", CONSISTENCY_LEVELS.join(", ")),
        );
    }
    if new.partitions.len() > MAX_PARTITIONS {
        refuse(
            "/partitions".into(),
            format!("at most {MAX_PARTITIONS} partitions are possible"),
        );
    }
    let mut names = HashSet::new();
    for (at, (partition, _)) in new.partitions.iter().enumerate().take(MAX_PARTITIONS) {
        if let Err(why) = name::check(partition) {
            refuse(format!("/partitions/{at}/name"), why);
        }
        if !names.insert(partition) {
            refuse(
                format!("/partitions/{at}/name"),
                format!("partition {partition:?} is given twice"),
            );
        }
    }
    if !new.channels.is_empty() && new.channels.len() != usize::try_from(new.num_shards).unwrap_or(0) {
        refuse(
            "/channels".into(),
            format!("{} channels are given for {} shards", new.channels.len(), new.num_shards),
        );
    }
    names.clear();
    for (at, channel) in new.channels.iter().enumerate().take(MAX_PARTITIONS) {
        if channel.channel_name.is_empty()
            || channel.channel_name.len() > 1024
            || channel.channel_name.chars().any(char::is_control)
        {
            refuse(
                format!("/channels/{at}/channel_name"),
                "must have 1 to 1024 bytes and no control character".into(),
            );
        }
        if !names.insert(&channel.channel_name) {
            refuse(
                format!("/channels/{at}/channel_name"),
                format!("channel {:?} is given twice", channel.channel_name),
            );
        }
    }
    match errors.first() {
        None => Ok(()),
        Some(first) => Err(Error::invalid(&first.pointer, &first.detail).with_fields(errors)),
    }
}
