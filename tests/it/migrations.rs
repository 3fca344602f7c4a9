//! Migrations: from empty, and what the schema itself holds to.

use sqlx::{Connection as _, PgConnection};

use crate::support::postgres;

async fn migrated() -> PgConnection {
    let url = postgres::url(&postgres::empty_database().await);
    let mut conn = PgConnection::connect(&url).await.expect("connects");
    stillframe::store::MIGRATOR.run(&mut conn).await.expect("migrates from empty");
    stillframe::store::MIGRATOR
        .run(&mut conn)
        .await
        .expect("again changes nothing");
    conn
}

async fn names(conn: &mut PgConnection, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(conn).await.expect("lists")
}

#[tokio::test]
async fn every_table_and_column_is_commented_and_every_constraint_named() {
    let mut conn = migrated().await;
    let bare = names(
        &mut conn,
        "select c.relname || '.' || a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = 'public' and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and c.relname not like '\\_sqlx%'
            and col_description(c.oid, a.attnum) is null",
    )
    .await;
    assert_eq!(bare, Vec::<String>::new(), "columns without a comment");
    let bare = names(
        &mut conn,
        "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = 'public' and c.relkind = 'r' and c.relname not like '\\_sqlx%' and obj_description(c.oid) is null",
    )
    .await;
    assert_eq!(bare, Vec::<String>::new(), "tables without a comment");
    // names that Postgres makes up end in a number, or name a column list
    let generated = names(
        &mut conn,
        "select conname::text from pg_constraint c join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace
          where n.nspname = 'public' and t.relname not like '\\_sqlx%' and conname ~ '[0-9]$'",
    )
    .await;
    assert_eq!(generated, Vec::<String>::new(), "constraints without a name of their own");
}

#[tokio::test]
async fn every_foreign_key_can_be_followed_backwards_by_an_index() {
    let mut conn = migrated().await;
    let unindexed = names(
        &mut conn,
        "select c.conrelid::regclass || ' ' || c.conname from pg_constraint c
          where c.contype = 'f' and c.connamespace = 'public'::regnamespace
            and not exists (select from pg_index i where i.indrelid = c.conrelid and i.indpred is null
                             and (i.indkey::int2[])[0:0] <@ c.conkey)
            and c.confrelid not in ('databases'::regclass, 'indexes'::regclass, 'channels'::regclass)
          order by 1",
    )
    .await;
    assert_eq!(unindexed, Vec::<String>::new());
}

#[tokio::test]
async fn ids_are_unique_and_rise_whatever_the_number_of_callers() {
    let mut conn = migrated().await;
    let url: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&mut conn)
        .await
        .expect("a name");
    let url = postgres::url(&url);
    let callers = (0..8).map(|n| {
        let url = url.clone();
        tokio::spawn(async move {
            let mut conn = PgConnection::connect(&url).await.expect("connects");
            let mut ids: Vec<i64> = Vec::new();
            for _ in 0..200 {
                let first = stillframe::store::catalog::allocate_ids(&mut conn, n + 1).await.expect("ids");
                assert!(ids.last().is_none_or(|last| *last < first), "they rise");
                ids.extend(first..=first + n);
            }
            ids
        })
    });
    let mut all: Vec<i64> = futures::future::join_all(callers)
        .await
        .into_iter()
        .flat_map(|ids| ids.expect("ran"))
        .collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "no id twice");
    let age_ms = stillframe::store::catalog::now_millis(&mut conn).await.expect("now") - (all[0] >> 18);
    assert!((0..600_000).contains(&age_ms), "physical milliseconds shifted by 18 bits");
}
