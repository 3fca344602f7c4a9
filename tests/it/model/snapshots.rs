//! Creating, dropping, pinning and holding snapshots.

use serde_json::{Value, json};

use super::run::{Checked, Run};
use super::world::{Life, Snapshot, World};

fn id_of(value: &Value) -> String {
    value.as_str().expect("an id").to_string()
}

impl Run {
    /// Creates a snapshot; with `crashed` leaves what one leaves that dies with its manifests
    /// written or not.
    pub async fn create(&mut self, of: u8, name: u8, crashed: Option<bool>) -> Checked {
        let Some(c) = self.world.living_collection(of) else {
            return Ok(());
        };
        let name = format!("s{name}");
        let now = self.world.now;
        let body = json!({"collection_name": self.world.collections[c].name, "snapshot_name": name});
        let namesake = self
            .world
            .snapshots
            .iter_mut()
            .find(|s| s.collection == c && s.name == name && matches!(s.life, Life::Committed | Life::Pending { .. }));
        match namesake {
            Some(Snapshot { life, .. }) if matches!(*life, Life::Pending { since } if since < now) => {
                *life = Life::Dropped { at: now, back: false };
            }
            Some(_) => {
                self.call("POST", "/v1/snapshots", Some(&body), 409, "snapshot_already_exists")
                    .await?;
                return Ok(());
            }
            None => {}
        }
        let created = self.post("/v1/snapshots", &body, 201).await?;
        let captured = self.world.capture(c);
        if created["segment_count"] != captured.len() {
            return Err(format!(
                "captured {}, not {} segments",
                created["segment_count"],
                captured.len()
            ));
        }
        let id = id_of(&created["snapshot_id"]);
        if let Some(written) = crashed {
            self.crash(&id, self.world.collections[c].id, written).await;
        }
        self.world.snapshots.push(Snapshot {
            id,
            name,
            collection: c,
            life: crashed.map_or(Life::Committed, |_| Life::Pending { since: now }),
            captured,
            pins: Vec::new(),
            held: false,
        });
        Ok(())
    }

    async fn crash(&self, id: &str, collection: i64, written: bool) {
        let number: i64 = id.parse().expect("a number");
        sqlx::query(
            "update snapshots set state = 'pending', committed_at = null, lease_token = gen_random_uuid(), s3_location = '',
                    lease_expires_at = stillframe_now() + interval '60 seconds', metadata_bytes = 0, segment_count = 0,
                    index_build_count = 0, num_of_rows = 0, file_count = 0, size_bytes = 0
              where snapshot_id = $1",
        )
        .bind(number)
        .execute(&self.app.pool)
        .await
        .expect("set");
        let metadata = format!("snapshots/{collection}/metadata/{id}.json");
        let mut unwritten = vec![metadata];
        if !written {
            unwritten.extend(self.app.keys(&format!("snapshots/{collection}/manifests/{id}/")).await);
            sqlx::query("update manifests set size_bytes = null, sha256 = null where owner_snapshot_id = $1")
                .bind(number)
                .execute(&self.app.pool)
                .await
                .expect("set");
        }
        assert!(self.app.objects.delete(unwritten).await.is_empty());
    }

    pub fn snapshot_path(&self, snapshot: usize, more: &str) -> String {
        let snapshot = &self.world.snapshots[snapshot];
        format!("/v1/snapshots/{}{more}?snapshot_id={}", snapshot.name, snapshot.id)
    }

    pub async fn drop(&mut self, of: u8) -> Checked {
        let Some(s) = self.world.snapshot(of, Life::Committed) else {
            return Ok(());
        };
        let path = self.snapshot_path(s, "");
        match self.world.refusal(s) {
            Some(code) => drop(self.call("DELETE", &path, None, 409, code).await?),
            None => {
                self.call("DELETE", &path, None, 204, "").await?;
                self.world.snapshots[s].life = Life::Dropped {
                    at: self.world.now,
                    back: true,
                };
            }
        }
        Ok(())
    }

    pub async fn undelete(&mut self, of: u8) -> Checked {
        let Some(s) = World::pick(&self.world.snapshots, of, |s| !s.is(Life::Committed)) else {
            return Ok(());
        };
        let path = self.snapshot_path(s, "/undelete");
        let this = &self.world.snapshots[s];
        let namesake = self.world.snapshots.iter().any(|o| {
            o.collection == this.collection && o.name == this.name && matches!(o.life, Life::Committed | Life::Pending { .. })
        });
        match this.life {
            Life::Dropped { back: true, .. } if namesake => {
                self.call("POST", &path, None, 409, "snapshot_already_exists").await?;
            }
            Life::Dropped { back: true, .. } => {
                self.call("POST", &path, None, 200, "").await?;
                self.world.snapshots[s].life = Life::Committed;
            }
            _ => drop(self.call("POST", &path, None, 404, "snapshot_not_found").await?),
        }
        Ok(())
    }

    pub async fn pin(&mut self, of: u8, hours: u8) -> Checked {
        let Some(s) = self.world.snapshot(of, Life::Committed) else {
            return Ok(());
        };
        let mut body = json!({"owner": "model"});
        if hours > 0 {
            body["ttl_seconds"] = json!(i64::from(hours) * 3600 + 1800);
        }
        let pin = self.post(&self.snapshot_path(s, "/pins"), &body, 201).await?;
        let end = (hours > 0).then_some(self.world.now + i64::from(hours));
        self.world.snapshots[s].pins.push((id_of(&pin["pin_id"]), end));
        Ok(())
    }

    pub async fn unpin(&mut self, of: u8) -> Checked {
        let Some(s) = World::pick(&self.world.snapshots, of, |s| s.is(Life::Committed) && !s.pins.is_empty()) else {
            return Ok(());
        };
        let (pin, end) = self.world.snapshots[s].pins.pop().expect("not empty");
        let path = self.snapshot_path(s, &format!("/pins/{pin}"));
        let (status, code) = match end {
            Some(end) if self.world.now > end => (404, "pin_not_found"),
            _ => (204, ""),
        };
        self.call("DELETE", &path, None, status, code).await?;
        Ok(())
    }

    pub async fn hold(&mut self, of: u8, held: bool) -> Checked {
        let Some(s) = World::pick(&self.world.snapshots, of, |s| s.is(Life::Committed) && s.held != held) else {
            return Ok(());
        };
        let hold = if held { json!({"owner": "model"}) } else { Value::Null };
        self.call("PATCH", &self.snapshot_path(s, ""), Some(&json!({"hold": hold})), 200, "")
            .await?;
        self.world.snapshots[s].held = held;
        Ok(())
    }
}
