// What Milvus' snapshot guide does around its snapshots, with Milvus' Go SDK itself: connect, flush,
// databases, collections, partitions, aliases, indexes, load, statistics.
//
// No release of the SDK that the Go module proxy gives (client/v2 up to v2.6.5) has the snapshot calls: those are
// in ../go, on the stubs. Two programs, since a process can't hold both generations of Milvus' messages.
//
// MILVUS_ADDRESS is where the server is, localhost:19530 without it. The program makes a database
// of its own. Names of collections as arguments: each is flushed, described and counted.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/milvus-io/milvus/client/v2/milvusclient"
)

func main() {
	address := os.Getenv("MILVUS_ADDRESS")
	if address == "" {
		address = "localhost:19530"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	client, err := milvusclient.New(ctx, &milvusclient.ClientConfig{Address: address})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close(ctx)
	for _, collection := range os.Args[1:] {
		if err := look(ctx, client, collection); err != nil {
			log.Fatalf("%s: %v", collection, err)
		}
	}
	if err := rows(ctx, client, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
	// last: it goes on in a database of its own
	if err := around(ctx, client); err != nil {
		log.Fatal(err)
	}
	fmt.Println("done")
}

// look does what the guide does before it takes a snapshot of a collection, and after it restored one.
func look(ctx context.Context, client *milvusclient.Client, collection string) error {
	flushed, err := client.Flush(ctx, milvusclient.NewFlushOption(collection))
	if err != nil {
		return err
	}
	if err := flushed.Await(ctx); err != nil {
		return err
	}
	described, err := client.DescribeCollection(ctx, milvusclient.NewDescribeCollectionOption(collection))
	if err != nil {
		return err
	}
	fmt.Printf("Collection: %s, id %d, %d shards\n", described.Name, described.ID, described.ShardNum)
	for _, field := range described.Schema.Fields {
		fmt.Printf("Field %d: %s %s\n", field.ID, field.Name, field.DataType.Name())
	}
	indexes, err := client.ListIndexes(ctx, milvusclient.NewListIndexOption(collection))
	if err != nil {
		return err
	}
	for _, name := range indexes {
		index, err := client.DescribeIndex(ctx, milvusclient.NewDescribeIndexOption(collection, name))
		if err != nil {
			return err
		}
		fmt.Printf("Index: %s, %s, %d rows\n", name, index.IndexType(), index.IndexedRows)
	}
	loading, err := client.LoadCollection(ctx, milvusclient.NewLoadCollectionOption(collection))
	if err != nil {
		return err
	}
	if err := loading.Await(ctx); err != nil {
		return err
	}
	segments, err := client.GetPersistentSegmentInfo(ctx, milvusclient.NewGetPersistentSegmentInfoOption(collection))
	if err != nil {
		return err
	}
	stats, err := client.GetCollectionStats(ctx, milvusclient.NewGetCollectionStatsOption(collection))
	if err != nil {
		return err
	}
	fmt.Printf("Rows: %s in %d segments\n", stats["row_count"], len(segments))
	return nil
}

// rows are the engine's: the SDK's row calls are told so.
func rows(ctx context.Context, client *milvusclient.Client, collections []string) error {
	for _, collection := range collections {
		_, err := client.Query(ctx, milvusclient.NewQueryOption(collection).WithFilter("id > 0"))
		if err == nil || !strings.Contains(err.Error(), "not served here") {
			return fmt.Errorf("a query of %s was not refused: %v", collection, err)
		}
	}
	return nil
}
