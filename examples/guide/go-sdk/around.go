package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/milvus-io/milvus/client/v2/entity"
	"github.com/milvus-io/milvus/client/v2/index"
	"github.com/milvus-io/milvus/client/v2/milvusclient"
)

const database = "guide_go"

// around is what clients call around snapshots, in a database of its own.
func around(ctx context.Context, client *milvusclient.Client) error {
	version, err := client.GetServerVersion(ctx, milvusclient.NewGetServerVersionOption())
	if err != nil {
		return err
	}
	fmt.Printf("Server version %s\n", version)
	if err := client.CreateDatabase(ctx, milvusclient.NewCreateDatabaseOption(database)); err != nil {
		return err
	}
	databases, err := client.ListDatabase(ctx, milvusclient.NewListDatabaseOption())
	if err != nil {
		return err
	}
	if !slices.Contains(databases, database) {
		return fmt.Errorf("databases are %v", databases)
	}
	if err := client.UseDatabase(ctx, milvusclient.NewUseDatabaseOption(database)); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		run  func(context.Context, *milvusclient.Client) error
	}{
		{"collection", collection}, {"partitions and aliases", partitionsAndAliases}, {"load", load}, {"end", end},
	} {
		if err := step.run(ctx, client); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// collection creates one with its index, describes both, and changes its properties.
func collection(ctx context.Context, client *milvusclient.Client) error {
	schema := entity.NewSchema().WithName("books").WithDynamicFieldEnabled(true).
		WithField(entity.NewField().WithName("id").WithDataType(entity.FieldTypeInt64).WithIsPrimaryKey(true)).
		WithField(entity.NewField().WithName("title").WithDataType(entity.FieldTypeVarChar).WithMaxLength(200).WithNullable(true)).
		WithField(entity.NewField().WithName("vec").WithDataType(entity.FieldTypeFloatVector).WithDim(8))
	indexed := milvusclient.NewCreateIndexOption("books", "vec", index.NewHNSWIndex(entity.L2, 16, 100))
	create := milvusclient.NewCreateCollectionOption("books", schema).
		WithShardNum(2).WithProperty("collection.ttl.seconds", 3600).WithIndexOptions(indexed)
	if err := client.CreateCollection(ctx, create); err != nil {
		return err
	}
	if has, err := client.HasCollection(ctx, milvusclient.NewHasCollectionOption("books")); err != nil || !has {
		return fmt.Errorf("is it there? %v, %w", has, err)
	}
	listed, err := client.ListCollections(ctx, milvusclient.NewListCollectionOption())
	if err != nil || !slices.Equal(listed, []string{"books"}) {
		return fmt.Errorf("listed %v, %w", listed, err)
	}
	described, err := client.DescribeCollection(ctx, milvusclient.NewDescribeCollectionOption("books"))
	if err != nil {
		return err
	}
	var names []string
	for _, field := range described.Schema.Fields {
		names = append(names, field.Name)
	}
	if !slices.Equal(names, []string{"id", "title", "vec"}) || described.ShardNum != 2 {
		return fmt.Errorf("described %v with %d shards", names, described.ShardNum)
	}
	found, err := client.DescribeIndex(ctx, milvusclient.NewDescribeIndexOption("books", "vec"))
	if err != nil {
		return err
	}
	if found.Params()["index_type"] != string(index.HNSW) || found.Params()["metric_type"] != "L2" {
		return fmt.Errorf("the index is %v", found.Params())
	}
	alter := milvusclient.NewAlterCollectionPropertiesOption("books").WithProperty("mmap.enabled", true)
	if err := client.AlterCollectionProperties(ctx, alter); err != nil {
		return err
	}
	return client.DropCollectionProperties(ctx, milvusclient.NewDropCollectionPropertiesOption("books", "collection.ttl.seconds"))
}

func partitionsAndAliases(ctx context.Context, client *milvusclient.Client) error {
	if err := client.CreatePartition(ctx, milvusclient.NewCreatePartitionOption("books", "fiction")); err != nil {
		return err
	}
	partitions, err := client.ListPartitions(ctx, milvusclient.NewListPartitionOption("books"))
	if err != nil || !slices.Equal(partitions, []string{"_default", "fiction"}) {
		return fmt.Errorf("partitions are %v, %w", partitions, err)
	}
	if has, err := client.HasPartition(ctx, milvusclient.NewHasPartitionOption("books", "fiction")); err != nil || !has {
		return fmt.Errorf("is the partition there? %v, %w", has, err)
	}
	if err := client.CreateAlias(ctx, milvusclient.NewCreateAliasOption("books", "shelf")); err != nil {
		return err
	}
	alias, err := client.DescribeAlias(ctx, milvusclient.NewDescribeAliasOption("shelf"))
	if err != nil || alias.CollectionName != "books" {
		return fmt.Errorf("the alias is %v, %w", alias, err)
	}
	return nil
}

func load(ctx context.Context, client *milvusclient.Client) error {
	flushed, err := client.Flush(ctx, milvusclient.NewFlushOption("books"))
	if err != nil {
		return err
	}
	if err := flushed.Await(ctx); err != nil {
		return err
	}
	loading, err := client.LoadCollection(ctx, milvusclient.NewLoadCollectionOption("books"))
	if err != nil {
		return err
	}
	if err := loading.Await(ctx); err != nil {
		return err
	}
	state, err := client.GetLoadState(ctx, milvusclient.NewGetLoadStateOption("books"))
	if err != nil || state.State != entity.LoadStateLoaded {
		return fmt.Errorf("the load state is %v, %w", state, err)
	}
	stats, err := client.GetCollectionStats(ctx, milvusclient.NewGetCollectionStatsOption("books"))
	if err != nil || stats["row_count"] != "0" {
		return fmt.Errorf("the statistics are %v, %w", stats, err)
	}
	return client.ReleaseCollection(ctx, milvusclient.NewReleaseCollectionOption("books"))
}

// end renames the collection, and drops all of it piece by piece.
func end(ctx context.Context, client *milvusclient.Client) error {
	for _, drop := range []func() error{
		func() error {
			return client.RenameCollection(ctx, milvusclient.NewRenameCollectionOption("books", "novels"))
		},
		func() error {
			return client.DropPartition(ctx, milvusclient.NewDropPartitionOption("novels", "fiction"))
		},
		func() error { return client.DropAlias(ctx, milvusclient.NewDropAliasOption("shelf")) },
		func() error { return client.DropIndex(ctx, milvusclient.NewDropIndexOption("novels", "vec")) },
		func() error { return client.DropCollection(ctx, milvusclient.NewDropCollectionOption("novels")) },
	} {
		if err := drop(); err != nil {
			return err
		}
	}
	has, err := client.HasCollection(ctx, milvusclient.NewHasCollectionOption("novels"))
	if err != nil || has {
		return fmt.Errorf("is it gone? %v, %w", !has, err)
	}
	// the database itself can go when the collector has taken what was dropped in it
	return nil
}
