// The use cases of Milvus' snapshot guide in Go: `go run . versioning`, and so on.
//
// They are written on the messages and stubs that Milvus' Go SDK is made of (milvus-proto/go-api),
// because no release of the SDK itself (client/v2 up to v2.6.5) has the snapshot calls yet.
// MILVUS_ADDRESS is where the server is, localhost:19530 without it; MILVUS_TOKEN a key for one that wants it.
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/milvus-io/milvus-proto/go-api/v3/commonpb"
	"github.com/milvus-io/milvus-proto/go-api/v3/milvuspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

var useCases = map[string]func(context.Context, milvuspb.MilvusServiceClient) error{
	"backup":      backup,
	"versioning":  versioning,
	"environment": environment,
	"several":     several,
	"jobs":        jobs,
	"export":      export,
	"errors":      errorMessages,

	"insufficient_storage": insufficientStorage,
	"restore_failed":       restoreFailed,
	"permission_denied":    permissionDenied,
}

func main() {
	if len(os.Args) != 2 || useCases[os.Args[1]] == nil {
		log.Fatalf("usage: guide %s", strings.Join(slices.Sorted(maps.Keys(useCases)), "|"))
	}
	conn, err := grpc.NewClient(address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := milvuspb.NewMilvusServiceClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if token := os.Getenv("MILVUS_TOKEN"); token != "" {
		// as Milvus' SDKs show it
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", base64.StdEncoding.EncodeToString([]byte(token)))
	}
	connected, err := client.Connect(ctx, &milvuspb.ConnectRequest{
		ClientInfo: &commonpb.ClientInfo{SdkType: "Golang", SdkVersion: "guide"},
	})
	if err := failed(connected, err); err != nil {
		log.Fatal(err)
	}
	if err := useCases[os.Args[1]](ctx, client); err != nil {
		log.Fatal(err)
	}
}

// failed gives the failure of a call: of gRPC, or in the answer's status.
func failed(answer interface{ GetStatus() *commonpb.Status }, err error) error {
	if err != nil {
		return err
	}
	return refused(answer.GetStatus(), nil)
}

// refused is the same for a call whose answer is the status.
func refused(status *commonpb.Status, err error) error {
	if err != nil {
		return err
	}
	if status.GetCode() != 0 {
		return fmt.Errorf("%d: %s", status.GetCode(), status.GetReason())
	}
	return nil
}

// flush seals what is growing, and waits until the engine has flushed it.
func flush(ctx context.Context, client milvuspb.MilvusServiceClient, collection string) error {
	flushed, err := client.Flush(ctx, &milvuspb.FlushRequest{CollectionNames: []string{collection}})
	if err := failed(flushed, err); err != nil {
		return err
	}
	for {
		state, err := client.GetFlushState(ctx, &milvuspb.GetFlushStateRequest{
			SegmentIDs:     flushed.GetCollSegIDs()[collection].GetData(),
			FlushTs:        flushed.GetCollFlushTs()[collection],
			CollectionName: collection,
		})
		if err := failed(state, err); err != nil || state.GetFlushed() {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func snapshot(ctx context.Context, client milvuspb.MilvusServiceClient, name, collection, description string) error {
	return refused(client.CreateSnapshot(ctx, &milvuspb.CreateSnapshotRequest{
		Name: name, CollectionName: collection, Description: description,
	}))
}

func restore(ctx context.Context, client milvuspb.MilvusServiceClient, name, source, target string) (int64, error) {
	started, err := client.RestoreSnapshot(ctx, &milvuspb.RestoreSnapshotRequest{
		Name: name, CollectionName: source, TargetCollectionName: target,
	})
	return started.GetJobId(), failed(started, err)
}

// wait polls a restore job until it has ended.
func wait(ctx context.Context, client milvuspb.MilvusServiceClient, jobID int64) (*milvuspb.RestoreSnapshotInfo, error) {
	for {
		answer, err := client.GetRestoreSnapshotState(ctx, &milvuspb.GetRestoreSnapshotStateRequest{JobId: jobID})
		if err := failed(answer, err); err != nil {
			return nil, err
		}
		state := answer.GetInfo()
		switch state.GetState() {
		case milvuspb.RestoreSnapshotState_RestoreSnapshotCompleted:
			fmt.Printf("Restore completed in %dms\n", state.GetTimeCost())
			return state, nil
		case milvuspb.RestoreSnapshotState_RestoreSnapshotFailed:
			return state, fmt.Errorf("restore failed: %s", state.GetReason())
		}
		fmt.Printf("Restore progress: %d%%\n", state.GetProgress())
		time.Sleep(200 * time.Millisecond)
	}
}
