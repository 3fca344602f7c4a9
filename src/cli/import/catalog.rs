//! Milvus' catalog: which keys hold what. Key layouts are those of Milvus 2.3 to 2.6.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::anyhow;

use super::super::failure::Failure;
use super::messages::{
    AliasInfo, CollectionInfo, DatabaseInfo, FieldBinlog, FieldIndex, FieldSchema, FunctionSchema, PartitionInfo, Position,
    SegmentIndex, SegmentInfo, StructArrayFieldSchema,
};
use super::source::Source;

/// States in the records of databases and of everything in them.
const DATABASE_CREATED: i32 = 1;
const CREATED: i32 = 0;

const DEFAULT_DATABASE: &str = "default";

/// A collection as the list of them names it.
pub struct Listed {
    pub db_name: String,
    pub collection_id: i64,
    pub info: CollectionInfo,
}

impl Listed {
    pub fn name(&self) -> &str {
        self.info.schema.as_ref().map_or("", |s| s.name.as_str())
    }

    /// Whether it is being created or dropped.
    pub fn is_half(&self) -> bool {
        self.info.state != CREATED
    }
}

/// A collection with everything that belongs to it.
pub struct Collection {
    pub listed: Listed,
    pub fields: Vec<FieldSchema>,
    pub functions: Vec<FunctionSchema>,
    pub struct_array_fields: Vec<StructArrayFieldSchema>,
    pub partitions: Vec<PartitionInfo>,
    pub aliases: Vec<String>,
    /// By channel.
    pub positions: HashMap<String, Position>,
    pub indexes: Vec<FieldIndex>,
    pub segments: Vec<Segment>,
}

/// A segment with its files and index builds.
#[derive(Default)]
pub struct Segment {
    pub info: SegmentInfo,
    pub binlogs: Vec<FieldBinlog>,
    pub deltalogs: Vec<FieldBinlog>,
    pub statslogs: Vec<FieldBinlog>,
    pub bm25_statslogs: Vec<FieldBinlog>,
    pub builds: Vec<SegmentIndex>,
}

/// Lists the databases, and the collections of each by name.
///
/// # Errors
/// A record that can't be read; when etcd does not answer.
pub async fn list(source: &Source) -> Result<(BTreeSet<String>, Vec<Listed>), Failure> {
    let databases = source.messages::<DatabaseInfo>("root-coord/database/db-info/").await?;
    let mut names: HashMap<i64, String> = databases
        .into_iter()
        .filter(|(_, db)| db.state == DATABASE_CREATED)
        .map(|(_, db)| (db.id, db.name))
        .collect();
    // a catalog from before databases has no record of the one that everything is in
    names.entry(1).or_insert_with(|| DEFAULT_DATABASE.to_string());

    let mut found = Vec::new();
    for (key, info) in source
        .messages::<CollectionInfo>("root-coord/database/collection-info/")
        .await?
    {
        let (db_id, collection_id) = two_ids(&key)?;
        // of a database that is being dropped
        let Some(db_name) = names.get(&db_id).cloned() else { continue };
        found.push(Listed {
            db_name,
            collection_id,
            info,
        });
    }
    for (key, info) in source.messages::<CollectionInfo>("root-coord/collection/").await? {
        let collection_id = id(&key)?;
        if found.iter().all(|f| f.collection_id != collection_id) {
            found.push(Listed {
                db_name: DEFAULT_DATABASE.to_string(),
                collection_id,
                info,
            });
        }
    }
    found.sort_by(|a, b| (&a.db_name, a.name()).cmp(&(&b.db_name, b.name())));
    Ok((names.into_values().collect(), found))
}

/// The aliases of every collection, by its id.
///
/// # Errors
/// As [`list`].
pub async fn aliases(source: &Source) -> Result<HashMap<i64, Vec<String>>, Failure> {
    let mut found: HashMap<i64, Vec<String>> = HashMap::new();
    for directory in ["root-coord/database/aliases/", "root-coord/aliases/"] {
        for (_, alias) in source.messages::<AliasInfo>(directory).await? {
            if alias.state == CREATED {
                let names = found.entry(alias.collection_id).or_default();
                if !names.contains(&alias.name) {
                    names.push(alias.name);
                }
            }
        }
    }
    Ok(found)
}

/// Reads everything about one collection.
///
/// # Errors
/// As [`list`].
pub async fn read(source: &Source, listed: Listed, aliases: Vec<String>) -> Result<Collection, Failure> {
    let id = listed.collection_id;
    let values = |messages: Vec<(String, FieldSchema)>| messages.into_iter().map(|(_, m)| m).collect::<Vec<_>>();
    let mut fields = values(source.messages(&format!("root-coord/fields/{id}/")).await?);
    if fields.is_empty() {
        fields = listed.info.schema.as_ref().map(|s| s.fields.clone()).unwrap_or_default();
    }
    fields.retain(|f| f.state == CREATED);
    fields.sort_by_key(|f| f.field_id);
    if fields.is_empty() {
        return Err(Failure::Other(anyhow!("its schema has no fields")));
    }
    let functions: Vec<(String, FunctionSchema)> = source.messages(&format!("root-coord/functions/{id}/")).await?;
    let structs: Vec<(String, StructArrayFieldSchema)> =
        source.messages(&format!("root-coord/struct-array-fields/{id}/")).await?;
    let partitions: Vec<(String, PartitionInfo)> = source.messages(&format!("root-coord/partitions/{id}/")).await?;
    let mut partitions: Vec<_> = partitions
        .into_iter()
        .map(|(_, p)| p)
        .filter(|p| p.state == CREATED)
        .collect();
    partitions.sort_by_key(|p| p.partition_id);

    let mut positions = HashMap::new();
    for channel in &listed.info.virtual_channel_names {
        // also the beginning of other channels' names, as v1 of v10
        let found: Vec<(String, Position)> = source.messages(&format!("datacoord-meta/channel-cp/{channel}")).await?;
        if let Some((_, position)) = found.into_iter().find(|(rest, _)| rest.is_empty()) {
            positions.insert(channel.clone(), position);
        }
    }
    let indexes: Vec<(String, FieldIndex)> = source.messages(&format!("field-index/{id}/")).await?;
    let mut indexes: Vec<_> = indexes.into_iter().map(|(_, i)| i).filter(|i| !i.deleted).collect();
    indexes.sort_by_key(|i| i.info.as_ref().map_or(0, |i| i.index_id));
    Ok(Collection {
        segments: segments(source, id).await?,
        listed,
        fields,
        functions: functions.into_iter().map(|(_, f)| f).collect(),
        struct_array_fields: structs.into_iter().map(|(_, s)| s).collect(),
        partitions,
        aliases,
        positions,
        indexes,
    })
}

async fn segments(source: &Source, collection: i64) -> Result<Vec<Segment>, Failure> {
    let infos: Vec<(String, SegmentInfo)> = source.messages(&format!("datacoord-meta/s/{collection}/")).await?;
    let mut found: BTreeMap<i64, Segment> = infos
        .into_iter()
        .map(|(_, info)| {
            (
                info.id,
                Segment {
                    info,
                    ..Segment::default()
                },
            )
        })
        .collect();
    type Pick = fn(&mut Segment) -> &mut Vec<FieldBinlog>;
    let kinds: [(&str, Pick); 4] = [
        ("binlog", |s| &mut s.binlogs),
        ("deltalog", |s| &mut s.deltalogs),
        ("statslog", |s| &mut s.statslogs),
        ("bm25log", |s| &mut s.bm25_statslogs),
    ];
    for (kind, pick) in kinds {
        let directory = format!("datacoord-meta/{kind}/{collection}/");
        for (key, logs) in source.messages::<FieldBinlog>(&directory).await? {
            let [_, segment, field] = three_ids(&key)?;
            // what is left of a segment that is gone
            let Some(segment) = found.get_mut(&segment) else { continue };
            if !logs.binlogs.is_empty() {
                pick(segment).push(FieldBinlog { field_id: field, ..logs });
            }
        }
    }
    for (_, build) in source
        .messages::<SegmentIndex>(&format!("segment-index/{collection}/"))
        .await?
    {
        if let Some(segment) = found.get_mut(&build.segment_id).filter(|_| !build.deleted) {
            segment.builds.push(build);
        }
    }
    for segment in found.values_mut() {
        segment.builds.sort_by_key(|b| b.build_id);
        for (_, pick) in kinds {
            pick(segment).sort_by_key(|g| g.field_id);
        }
    }
    Ok(found.into_values().collect())
}

fn id(text: &str) -> Result<i64, Failure> {
    text.parse()
        .map_err(|_| Failure::Other(anyhow!("a key of Milvus' catalog has {text:?} where an id is expected")))
}

fn two_ids(key: &str) -> Result<(i64, i64), Failure> {
    let (first, second) = key.split_once('/').unwrap_or((key, ""));
    Ok((id(first)?, id(second)?))
}

fn three_ids(key: &str) -> Result<[i64; 3], Failure> {
    let (first, rest) = key.split_once('/').unwrap_or((key, ""));
    let (second, third) = two_ids(rest)?;
    Ok([id(first)?, second, third])
}
