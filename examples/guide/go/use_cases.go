package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/milvus-io/milvus-proto/go-api/v3/milvuspb"
)

// backup: a snapshot every day, and the way back. Needs a collection production_vectors.
func backup(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	const collection = "production_vectors"
	name := "daily_backup_" + time.Now().Format("20060102")
	if err := flush(ctx, client, collection); err != nil {
		return err
	}
	if err := snapshot(ctx, client, name, collection, "Daily backup"); err != nil {
		return err
	}
	found, err := client.DescribeSnapshot(ctx, &milvuspb.DescribeSnapshotRequest{Name: name, CollectionName: collection})
	if err := failed(found, err); err != nil {
		return err
	}
	fmt.Printf("Snapshot: %s of %s, partitions %v\n", found.GetName(), found.GetCollectionName(), found.GetPartitionNames())
	fmt.Printf("Created: %s\n", time.UnixMilli(found.GetCreateTs()>>18))
	fmt.Printf("Metadata: %s\n", found.GetS3Location())
	pin, err := client.PinSnapshotData(ctx, &milvuspb.PinSnapshotDataRequest{Name: name, CollectionName: collection, TtlSeconds: 3600})
	if err := failed(pin, err); err != nil {
		return err
	}
	job, err := restore(ctx, client, name, collection, "recovered_vectors")
	if err != nil {
		return err
	}
	if _, err := wait(ctx, client, job); err != nil {
		return err
	}
	if err := refused(client.UnpinSnapshotData(ctx, &milvuspb.UnpinSnapshotDataRequest{PinId: pin.GetPinId()})); err != nil {
		return err
	}
	return refused(client.DropSnapshot(ctx, &milvuspb.DropSnapshotRequest{Name: name, CollectionName: collection}))
}

// versioning: a snapshot before and after a model update, and the way back to the first. Needs a collection ml_embeddings.
func versioning(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	const collection = "ml_embeddings"
	for _, version := range []struct{ name, description string }{
		{"v1.0_baseline", "Baseline model embeddings"},
		{"v1.1_improved", "Improved model embeddings"},
	} {
		if err := flush(ctx, client, collection); err != nil {
			return err
		}
		if err := snapshot(ctx, client, version.name, collection, version.description); err != nil {
			return err
		}
	}
	listed, err := client.ListSnapshots(ctx, &milvuspb.ListSnapshotsRequest{CollectionName: collection})
	if err := failed(listed, err); err != nil {
		return err
	}
	if !slices.Equal(listed.GetSnapshots(), []string{"v1.1_improved", "v1.0_baseline"}) {
		return fmt.Errorf("listed %v", listed.GetSnapshots())
	}
	// back to the baseline, under another name; an alias tells readers which one is in use
	job, err := restore(ctx, client, "v1.0_baseline", collection, "ml_embeddings_baseline")
	if err != nil {
		return err
	}
	if _, err := wait(ctx, client, job); err != nil {
		return err
	}
	alias := &milvuspb.CreateAliasRequest{CollectionName: "ml_embeddings_baseline", Alias: "ml_embeddings_in_use"}
	if err := refused(client.CreateAlias(ctx, alias)); err != nil {
		return err
	}
	inUse, err := client.DescribeCollection(ctx, &milvuspb.DescribeCollectionRequest{CollectionName: "ml_embeddings_in_use"})
	if err := failed(inUse, err); err != nil {
		return err
	}
	if inUse.GetCollectionName() != "ml_embeddings_baseline" {
		return fmt.Errorf("in use is %s", inUse.GetCollectionName())
	}
	fmt.Printf("In use: %s\n", inUse.GetCollectionName())
	return nil
}

// environment: test data, restored into an environment of its own. Needs a collection test_collection.
func environment(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	if err := flush(ctx, client, "test_collection"); err != nil {
		return err
	}
	if err := snapshot(ctx, client, "test_dataset_v1", "test_collection", "Test dataset for regression testing"); err != nil {
		return err
	}
	job, err := restore(ctx, client, "test_dataset_v1", "test_collection", "test_environment")
	if err != nil {
		return err
	}
	if _, err := wait(ctx, client, job); err != nil {
		return err
	}
	described, err := client.DescribeCollection(ctx, &milvuspb.DescribeCollectionRequest{CollectionName: "test_environment"})
	if err := failed(described, err); err != nil {
		return err
	}
	for _, field := range described.GetSchema().GetFields() {
		fmt.Printf("Field %d: %s %s\n", field.GetFieldID(), field.GetName(), field.GetDataType())
	}
	fmt.Println("Test environment ready!")
	return nil
}

// several: three restores at the same time. Needs a collection my_collection.
func several(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	var started []int64
	for i := range 3 {
		name := fmt.Sprintf("snapshot_v%d", i)
		if err := snapshot(ctx, client, name, "my_collection", ""); err != nil {
			return err
		}
		job, err := restore(ctx, client, name, "my_collection", fmt.Sprintf("test_env_%d", i))
		if err != nil {
			return err
		}
		started = append(started, job)
	}
	for _, job := range started {
		state, err := wait(ctx, client, job)
		if err != nil {
			return err
		}
		fmt.Printf("Job %d finished: %s\n", job, state.GetState())
	}
	return nil
}

// jobs: all of them, and those of one target. Runs after several.
func jobs(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	all, err := client.ListRestoreSnapshotJobs(ctx, &milvuspb.ListRestoreSnapshotJobsRequest{})
	if err := failed(all, err); err != nil {
		return err
	}
	for _, job := range all.GetJobs() {
		fmt.Printf("Job %d: %s -> collection %s\n", job.GetJobId(), job.GetSnapshotName(), job.GetCollectionName())
		fmt.Printf("  State: %s, Progress: %d%%\n", job.GetState(), job.GetProgress())
	}
	one, err := client.ListRestoreSnapshotJobs(ctx, &milvuspb.ListRestoreSnapshotJobsRequest{CollectionName: "test_env_1"})
	if err := failed(one, err); err != nil {
		return err
	}
	if len(all.GetJobs()) < 3 || len(one.GetJobs()) != 1 || one.GetJobs()[0].GetSnapshotName() != "snapshot_v1" {
		return fmt.Errorf("listed %d jobs, to test_env_1 %v", len(all.GetJobs()), one.GetJobs())
	}
	return nil
}
