//! Collections.

use super::call::Call;
use super::databases::{hybrid, millis};
use super::schema::{self, consistency, pairs};
use crate::domain::Code;
use crate::domain::collection::{Ownership, Position};
use crate::domain::schema::{CONSISTENCY_LEVELS, Field};
use crate::domain::timestamp::from_millis;
use crate::milvus::Facade;
use crate::milvus::facade::every_page;
use crate::milvus::names;
use crate::milvus::proto::common::{KeyValuePair, Status};
use crate::milvus::proto::milvus::{
    AlterCollectionRequest, BoolResponse, CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse,
    DropCollectionRequest, GetCollectionStatisticsRequest, GetCollectionStatisticsResponse, HasCollectionRequest,
    RenameCollectionRequest, ShowCollectionsRequest, ShowCollectionsResponse,
};
use crate::milvus::status::{Refusal, code, success};
use crate::service::{CollectionChange, CollectionDescription, NewCollection};

/// Partitions of a collection with a partition key, when the request does not say how many.
const KEYED_PARTITIONS: i64 = 16;
/// And at most.
const MAX_KEYED_PARTITIONS: i64 = 1024;

/// Creates a collection; the same one again is success, as in Milvus.
pub async fn create_collection(call: Call<CreateCollectionRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let name = names::collection(&message.collection_name)?;
    let db = call.db(&message.db_name);
    let new = wanted(db, name, message)?;
    let (fields, shards) = (new.schema.fields.clone(), new.num_shards);
    match call.facade.service.create_collection(new).await {
        Ok(created) => begin_channels(&call.facade, db, &created).await?,
        Err(error) if error.code() == Code::CollectionAlreadyExists => {
            let there = call.facade.service.collection(db, name).await?;
            if there.name != name || there.num_shards != shards || !same(&there.schema.fields, &fields) {
                return Err(Refusal::from(error).say(
                    code::UNTYPED,
                    format!("create duplicate collection with different parameters, collection: {name}"),
                ));
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(success())
}

fn wanted(db: &str, name: &str, message: &CreateCollectionRequest) -> Result<NewCollection, Refusal> {
    let wanted = schema::read(&message.schema)?;
    let partitions = match wanted.has_partition_key {
        false => Vec::new(),
        true => {
            let count = match message.num_partitions {
                0 => KEYED_PARTITIONS,
                count => count,
            };
            if !(1..=MAX_KEYED_PARTITIONS).contains(&count) {
                return Err(Refusal::invalid(format!(
                    "num_partitions must be from 1 to {MAX_KEYED_PARTITIONS}"
                )));
            }
            (0..count).map(|n| (format!("_default_{n}"), None)).collect()
        }
    };
    let level = usize::try_from(message.consistency_level)
        .ok()
        .and_then(|at| CONSISTENCY_LEVELS.get(at))
        .ok_or_else(|| Refusal::invalid(format!("consistency level {} is not known", message.consistency_level)))?;
    Ok(NewCollection {
        db_name: db.to_string(),
        name: name.to_string(),
        collection_id: None,
        ownership: Ownership::Owned,
        num_shards: message.shards_num.max(1),
        consistency_level: (*level).to_string(),
        schema: wanted.schema,
        properties: schema::params(&message.properties),
        partitions,
        channels: Vec::new(),
    })
}

/// The channels of a collection that was just made hold nothing before this moment: said here, as
/// Milvus does, so that a snapshot of an empty collection works before the engine reports.
async fn begin_channels(facade: &Facade, db: &str, created: &CollectionDescription) -> Result<(), Refusal> {
    let created_at = i64::try_from(millis(created.collection.created_at)).unwrap_or(0);
    let position = Position {
        timestamp: from_millis(created_at),
        ..Position::default()
    };
    for channel in &created.channels {
        let name = &created.collection.name;
        facade
            .service
            .report_channel(db, name, &channel.channel_name, &position)
            .await?;
    }
    Ok(())
}

/// Whether two lists of fields are the same but for the ids.
fn same(there: &[Field], wanted: &[Field]) -> bool {
    let content = |fields: &[Field]| {
        let mut all: Vec<Field> = fields.to_vec();
        for field in &mut all {
            field.field_id.0 = 0;
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    };
    content(there) == content(wanted)
}

/// Says whether there is a collection or an alias of the name.
pub async fn has_collection(call: Call<HasCollectionRequest>) -> Result<BoolResponse, Refusal> {
    let db = call.db(&call.message.db_name);
    let value = match call.facade.service.collection(db, &call.message.collection_name).await {
        Ok(_) => true,
        Err(error) if error.code() == Code::CollectionNotFound => false,
        Err(error) => return Err(error.into()),
    };
    Ok(BoolResponse {
        status: Some(success()),
        value,
    })
}

/// Describes a collection.
pub async fn describe_collection(call: Call<DescribeCollectionRequest>) -> Result<DescribeCollectionResponse, Refusal> {
    let name = &call.message.collection_name;
    if name.is_empty() {
        return Err(Refusal::missing("collection_name is required for describe collection"));
    }
    let db = call.db(&call.message.db_name);
    let found = call.facade.service.describe_collection(db, name).await.map_err(|error| {
        let ours = error.code();
        let refusal = Refusal::from(error);
        match ours {
            // the words by which clients of Milvus before 2.3.2 tell this from other failures
            Code::CollectionNotFound => refusal.say(
                code::COLLECTION_NOT_FOUND,
                format!("can't find collection[database={db}][collection={name}]"),
            ),
            _ => refusal,
        }
    })?;
    let collection = &found.collection;
    let channels: Vec<String> = found.channels.iter().map(|c| c.channel_name.clone()).collect();
    Ok(DescribeCollectionResponse {
        status: Some(success()),
        schema: Some(schema::show(collection)),
        collection_id: collection.collection_id.0,
        physical_channel_names: channels.iter().map(|name| physical(name)).collect(),
        virtual_channel_names: channels,
        created_timestamp: hybrid(collection.created_at),
        created_utc_timestamp: millis(collection.created_at),
        shards_num: collection.num_shards,
        consistency_level: consistency(&collection.consistency_level),
        collection_name: collection.name.clone(),
        properties: pairs(&collection.properties),
        db_name: collection.db_name.clone(),
        num_partitions: i64::try_from(found.partitions.len()).unwrap_or(i64::MAX),
        db_id: collection.db_id.0,
        aliases: found.aliases,
    })
}

/// The channel below a collection's own: its name without `_{collection}v{shard}`.
fn physical(name: &str) -> String {
    name.rsplit_once('_').map_or(name, |(head, _)| head).to_string()
}

/// Lists collections, or those that are named.
pub async fn show_collections(call: Call<ShowCollectionsRequest>) -> Result<ShowCollectionsResponse, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let service = &call.facade.service;
    let mut all = every_page(|page| async move { service.list_collections(db, "", &page).await }).await?;
    if !message.collection_names.is_empty() {
        all.retain(|c| message.collection_names.contains(&c.name));
    }
    Ok(ShowCollectionsResponse {
        status: Some(success()),
        collection_ids: all.iter().map(|c| c.collection_id.0).collect(),
        created_timestamps: all.iter().map(|c| hybrid(c.created_at)).collect(),
        created_utc_timestamps: all.iter().map(|c| millis(c.created_at)).collect(),
        in_memory_percentages: vec![100; all.len()],
        query_service_available: vec![false; all.len()],
        shards_num: all.iter().map(|c| c.num_shards).collect(),
        collection_names: all.into_iter().map(|c| c.name).collect(),
    })
}

/// Drops a collection; one that is not there is success, as in Milvus. Its snapshots stay, unless
/// the setting says otherwise.
pub async fn drop_collection(call: Call<DropCollectionRequest>) -> Result<Status, Refusal> {
    let name = &call.message.collection_name;
    let db = call.db(&call.message.db_name);
    let found = match call.facade.service.collection(db, name).await {
        Err(error) if error.code() == Code::CollectionNotFound => return Ok(success()),
        found => found?,
    };
    if found.name != *name {
        return Err(Refusal::invalid(format!("cannot drop the collection via alias = {name}")));
    }
    let cascades = call.facade.settings.drop_collection_cascades;
    match call.facade.service.drop_collection(db, name, cascades).await {
        Err(error) if error.code() != Code::CollectionNotFound => Err(error.into()),
        _ => Ok(success()),
    }
}

/// Gives a collection another name in its database.
pub async fn rename_collection(call: Call<RenameCollectionRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    if !message.new_db_name.is_empty() && message.new_db_name != db {
        return Err(Refusal::new(
            code::NOT_SUPPORTED,
            "a collection can't be moved to another database",
        ));
    }
    let new_name = names::collection(&message.new_name)?;
    let found = call.facade.service.collection(db, &message.old_name).await?;
    if found.name != message.old_name {
        return Err(Refusal::new(
            code::UNTYPED,
            format!("unsupported use an alias to rename collection, alias:{}", message.old_name),
        ));
    }
    let change = CollectionChange {
        name: Some(new_name.to_string()),
        ..CollectionChange::default()
    };
    match call.facade.service.change_collection(db, &found.name, change).await {
        Err(error) if error.code() == Code::CollectionAlreadyExists => Err(Refusal::from(error).say(
            code::UNTYPED,
            format!("duplicated new collection name {new_name} in database {db} with other collection name or alias"),
        )),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(success()),
    }
}

/// Changes properties.
pub async fn alter_collection(call: Call<AlterCollectionRequest>) -> Result<Status, Refusal> {
    let message = &call.message;
    let db = call.db(&message.db_name);
    let found = call.facade.service.collection(db, &message.collection_name).await?;
    let set = message.properties.iter().map(|p| (p.key.clone(), Some(p.value.clone())));
    let dropped = message.delete_keys.iter().map(|key| (key.clone(), None));
    let change = CollectionChange {
        name: None,
        properties: set.chain(dropped).collect(),
    };
    call.facade.service.change_collection(db, &found.name, change).await?;
    Ok(success())
}

/// Counts rows.
pub async fn get_collection_statistics(
    call: Call<GetCollectionStatisticsRequest>,
) -> Result<GetCollectionStatisticsResponse, Refusal> {
    let db = call.db(&call.message.db_name);
    let found = call
        .facade
        .service
        .describe_collection(db, &call.message.collection_name)
        .await?;
    Ok(GetCollectionStatisticsResponse {
        status: Some(success()),
        stats: vec![KeyValuePair {
            key: "row_count".into(),
            value: found.statistics.rows.to_string(),
        }],
    })
}
