package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/milvus-io/milvus-proto/go-api/v3/milvuspb"
)

// The guide's error messages for which the server must lack something. All need a collection my_collection with files.

// insufficientStorage: --quota-bytes of the server leave no room for the files a second time.
func insufficientStorage(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	return failingRestore(ctx, client, "insufficient storage")
}

// restoreFailed: one of the files was deleted from the object storage.
func restoreFailed(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	return failingRestore(ctx, client, "restore snapshot failed")
}

// permissionDenied: the server runs with --auth, and MILVUS_TOKEN is a key of the role reader.
func permissionDenied(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	err := snapshot(ctx, client, "not_allowed", "my_collection", "")
	if err == nil || !strings.HasPrefix(err.Error(), "1401: permission denied") {
		return fmt.Errorf("creating a snapshot was not refused: %w", err)
	}
	fmt.Println(err)
	return nil
}

// failingRestore: the restore is accepted; that it fails, and why, is in the state of its job.
func failingRestore(ctx context.Context, client milvuspb.MilvusServiceClient, words string) error {
	const collection, name = "my_collection", "of_what_is_left"
	if err := snapshot(ctx, client, name, collection, ""); err != nil {
		return err
	}
	job, err := restore(ctx, client, name, collection, "never_there")
	if err != nil {
		return err
	}
	state, err := wait(ctx, client, job)
	if state.GetState() != milvuspb.RestoreSnapshotState_RestoreSnapshotFailed {
		return errors.Join(errors.New("the restore did not fail"), err)
	}
	if !strings.Contains(state.GetReason(), words) {
		return fmt.Errorf("expected %q, got: %s", words, state.GetReason())
	}
	fmt.Println(state.GetReason())
	return refused(client.DropSnapshot(ctx, &milvuspb.DropSnapshotRequest{Name: name, CollectionName: collection}))
}
