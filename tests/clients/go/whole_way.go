// The whole way by the client that oapi-codegen makes: whole_way URL CATALOG [KEY].
// As ../python/whole_way.py.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"stillframe-client-go/stillframe"
)

type catalog struct {
	Collection stillframe.CreateCollectionRequest `json:"collection"`
	Indexes    []stillframe.IndexBody             `json:"indexes"`
	Segments   []stillframe.SegmentBody           `json:"segments"`
}

func check(holds bool, what string, args ...any) {
	if !holds {
		log.Fatalf(what, args...)
	}
}

// must gives the answer of a call that reached the service.
func must[T any](answer T, err error) T {
	check(err == nil, "%v", err)
	return answer
}

// ok gives the body of an answer that succeeded.
func ok[T any](body *T, raw []byte) T {
	check(body != nil, "refused: %s", raw)
	return *body
}

func client(url, key string) *stillframe.ClientWithResponses {
	bearer := func(_ context.Context, request *http.Request) error {
		if key != "" {
			request.Header.Set("Authorization", "Bearer "+key)
		}
		return nil
	}
	return must(stillframe.NewClientWithResponses(url, stillframe.WithRequestEditorFn(bearer)))
}

func main() {
	url, file, key := os.Args[1], os.Args[2], ""
	ctx := context.Background()
	if len(os.Args) > 3 {
		key = os.Args[3]
		stranger := must(client(url, "").ListSnapshotsWithResponse(ctx, nil))
		check(stranger.StatusCode() == 401, "without a key: %s", stranger.Body)
	}
	var given catalog
	err := json.Unmarshal(must(os.ReadFile(file)), &given)
	check(err == nil, "the catalog is not as the document says: %v", err)
	c := client(url, key)

	created := must(c.CreateCollectionWithResponse(ctx, nil, given.Collection))
	collection := ok(created.JSON201, created.Body)
	id := must(strconv.ParseInt(*given.Collection.CollectionId, 10, 64))
	check(id > 1<<53 && int64(math.Round(float64(id))) != id, "%d is an id that a number of JavaScript holds", id)
	check(collection.CollectionId == *given.Collection.CollectionId, "another id: %s", collection.CollectionId)
	name := collection.Name
	for _, index := range given.Indexes {
		answer := must(c.CreateIndexWithResponse(ctx, name, nil, index))
		ok(answer.JSON201, answer.Body)
	}
	batch := must(c.RegisterSegmentsWithResponse(ctx, name, nil, stillframe.RegisterSegmentsRequest{Segments: given.Segments}))
	check(ok(batch.JSON201, batch.Body).FileCount == 48, "files: %s", batch.Body)
	for _, segment := range given.Segments {
		answer := must(c.GetSegmentWithResponse(ctx, name, segment.SegmentId, nil))
		check(ok(answer.JSON200, answer.Body).SegmentId == segment.SegmentId, "another id: %s", answer.Body)
	}

	request := stillframe.CreateSnapshotRequest{CollectionName: name, SnapshotName: "by_go"}
	repeat := "go-1"
	var ids []stillframe.Id
	for range 2 {
		answer := must(c.CreateSnapshotWithResponse(ctx, &stillframe.CreateSnapshotParams{IdempotencyKey: &repeat}, request))
		ids = append(ids, ok(answer.JSON201, answer.Body).SnapshotId)
	}
	check(ids[0] == ids[1], "not the same answer: %v", ids)
	refused := must(c.CreateSnapshotWithResponse(ctx, nil, request))
	check(ok(refused.ApplicationproblemJSON409, refused.Body).Code == "snapshot_already_exists", "%s", refused.Body)
	missing := must(c.GetSnapshotWithResponse(ctx, "nothing", nil))
	check(ok(missing.ApplicationproblemJSON404, missing.Body).Status == 404, "%s", missing.Body)

	seen := must(c.GetSnapshotWithResponse(ctx, "by_go", nil))
	tag, note := seen.HTTPResponse.Header.Get("etag"), "seen"
	change := func(tag string) *stillframe.ChangeSnapshotResponse {
		body := stillframe.ChangeSnapshotRequest{Description: &note}
		return must(c.ChangeSnapshotWithResponse(ctx, "by_go", &stillframe.ChangeSnapshotParams{IfMatch: &tag}, body))
	}
	changed := change(tag)
	ok(changed.JSON200, changed.Body)
	stale := change(`"stale"`)
	check(ok(stale.ApplicationproblemJSON412, stale.Body).Code == "precondition_failed", "%s", stale.Body)
	one := int64(1)
	list := must(c.ListSnapshotsWithResponse(ctx, &stillframe.ListSnapshotsParams{CollectionName: &name, PageSize: &one}))
	items := ok(list.JSON200, list.Body).Items
	check(len(items) == 1 && items[0].Description == "seen", "%s", list.Body)

	target := stillframe.RestoreSnapshotRequest{CollectionName: "from_go"}
	started := must(c.RestoreSnapshotWithResponse(ctx, "by_go", nil, target))
	job := ok(started.JSON202, started.Body)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if ended := map[stillframe.JobStateText]bool{"Completed": true, "Failed": true, "Cancelled": true}; ended[job.State] {
			break
		}
		check(time.Now().Before(deadline), "it takes too long: %v", job)
		answer := must(c.GetRestoreJobWithResponse(ctx, job.JobId, nil))
		job = ok(answer.JSON200, answer.Body)
	}
	check(job.State == stillframe.JobStateTextCompleted && job.Progress == 100, "%v", job)
	restored := must(c.GetCollectionWithResponse(ctx, "from_go", nil))
	check(ok(restored.JSON200, restored.Body).NumOfRows == 9000, "%s", restored.Body)

	dropped := must(c.DropSnapshotWithResponse(ctx, "by_go", nil))
	check(dropped.StatusCode() == 204, "%s", dropped.Body)
	for _, name := range []string{name, "from_go"} {
		gone := must(c.DropCollectionWithResponse(ctx, name, nil))
		check(gone.StatusCode() == 204, "%s", gone.Body)
	}
	fmt.Println("went the whole way")
}
