package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/milvus-io/milvus-proto/go-api/v3/milvuspb"
)

// export: a snapshot as a self-contained bundle, and back from it. Needs a collection production_vectors.
// EXPORT_TO is where to: a path in the service's own storage, or a whole URI for another bucket.
//
// The stubs that the Go module proxy gives (of May 2026) know no exports yet, so ExportSnapshot,
// GetExportSnapshotState and RestoreExternalSnapshot are called by their paths in REST v2.
func export(ctx context.Context, client milvuspb.MilvusServiceClient) error {
	const collection, name, back = "production_vectors", "to_be_exported", "back_from_export"
	target := os.Getenv("EXPORT_TO")
	if target == "" {
		target = "bundles/of_go"
	}
	if err := snapshot(ctx, client, name, collection, "for another place"); err != nil {
		return err
	}
	job, err := start(ctx, "jobs/snapshot/export", map[string]string{
		"snapshotName": name, "collectionName": collection, "targetS3Path": target,
	})
	if err != nil {
		return err
	}
	uri, err := waitForExport(ctx, job)
	if err != nil {
		return err
	}
	job, err = start(ctx, "jobs/snapshot/restore_external", map[string]string{
		"targetCollectionName": back, "snapshotMetadataURI": uri,
	})
	if err != nil {
		return err
	}
	// a restore job like others, whichever way it is asked for
	id, err := strconv.ParseInt(job, 10, 64)
	if err != nil {
		return err
	}
	if _, err := wait(ctx, client, id); err != nil {
		return err
	}
	before, err := rowCount(ctx, client, collection)
	if err != nil {
		return err
	}
	after, err := rowCount(ctx, client, back)
	if err != nil {
		return err
	}
	if before != after || before == "0" {
		return fmt.Errorf("%s rows were exported, %s came back", before, after)
	}
	fmt.Printf("Rows: %s\n", after)
	return refused(client.DropSnapshot(ctx, &milvuspb.DropSnapshotRequest{Name: name, CollectionName: collection}))
}

// start starts a job; gives its id.
func start(ctx context.Context, path string, body map[string]string) (string, error) {
	var started struct{ JobID string }
	err := rest(ctx, path, body, &started)
	return started.JobID, err
}

// waitForExport polls an export until it has ended; gives where its metadata file is.
func waitForExport(ctx context.Context, job string) (string, error) {
	for {
		var state struct {
			State               string
			Progress            int
			Reason              string
			CopiedFiles         string
			TotalBytes          string
			SnapshotMetadataURI string
		}
		if err := rest(ctx, "jobs/snapshot/export/describe", map[string]string{"jobId": job}, &state); err != nil {
			return "", err
		}
		switch state.State {
		case "ExportSnapshotCompleted":
			fmt.Printf("Exported %s files, %s bytes: %s\n", state.CopiedFiles, state.TotalBytes, state.SnapshotMetadataURI)
			return state.SnapshotMetadataURI, nil
		case "ExportSnapshotFailed":
			return "", fmt.Errorf("export failed: %s", state.Reason)
		}
		fmt.Printf("Export progress: %d%%\n", state.Progress)
		time.Sleep(200 * time.Millisecond)
	}
}

// rowCount is what the statistics of a collection say.
func rowCount(ctx context.Context, client milvuspb.MilvusServiceClient, collection string) (string, error) {
	answer, err := client.GetCollectionStatistics(ctx, &milvuspb.GetCollectionStatisticsRequest{CollectionName: collection})
	if err := failed(answer, err); err != nil {
		return "", err
	}
	for _, pair := range answer.GetStats() {
		if pair.GetKey() == "row_count" {
			return pair.GetValue(), nil
		}
	}
	return "", fmt.Errorf("the statistics of %s have no row_count: %v", collection, answer.GetStats())
}
