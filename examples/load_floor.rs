//! What the machine can do at best, for `make bench-load`: an axum "hello", and a handler that asks
//! Postgres for `select 1`. `load_floor ADDRESS DATABASE_URL CONNECTIONS`

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

async fn select_1(State(pool): State<PgPool>) -> Result<String, StatusCode> {
    let one: i32 = sqlx::query_scalar("select 1")
        .fetch_one(&pool)
        .await
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(one.to_string())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(address), Some(url), Some(connections)) = (args.next(), args.next(), args.next()) else {
        anyhow::bail!("load_floor ADDRESS DATABASE_URL CONNECTIONS");
    };
    let pool = PgPoolOptions::new()
        .max_connections(connections.parse()?)
        .connect(&url)
        .await?;
    let router = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/select-1", get(select_1))
        .with_state(pool);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
