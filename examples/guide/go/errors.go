package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/milvus-io/milvus-proto/go-api/v3/milvuspb"
)

// errorMessages: the guide's, as a client sees them; those for which the server must lack something are in
// server_errors.go. Runs after several.
func errorMessages(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	describe := func(name string) error {
		found, err := client.DescribeSnapshot(ctx, &milvuspb.DescribeSnapshotRequest{Name: name, CollectionName: "my_collection"})
		return failed(found, err)
	}
	drop := func(name string) error {
		return refused(client.DropSnapshot(ctx, &milvuspb.DropSnapshotRequest{Name: name, CollectionName: "my_collection"}))
	}
	job := func(id int64) error {
		found, err := client.GetRestoreSnapshotState(ctx, &milvuspb.GetRestoreSnapshotStateRequest{JobId: id})
		return failed(found, err)
	}
	query := func() error {
		rows, err := client.Query(ctx, &milvuspb.QueryRequest{CollectionName: "my_collection", Expr: "id > 0"})
		return failed(rows, err)
	}
	// dropping is idempotent
	if err := drop("never_taken"); err != nil {
		return err
	}
	_, taken := restore(ctx, client, "snapshot_v0", "my_collection", "test_env_0")
	for _, seen := range []struct {
		words string
		err   error
	}{
		{"snapshot not found", describe("never_taken")},
		{"collection already exists", taken},
		{"restore job not found", job(12345)},
		{"already exists", snapshot(ctx, client, "snapshot_v0", "my_collection", "")},
		{"100: ", snapshot(ctx, client, "s", "nothing", "")},
		{"not served here", query()},
	} {
		if seen.err == nil || !strings.Contains(seen.err.Error(), seen.words) {
			return fmt.Errorf("expected %q, got: %v", seen.words, seen.err)
		}
		fmt.Println(seen.err)
	}
	return nil
}
