module stillframe/examples/guide

go 1.24

require github.com/milvus-io/milvus-proto/go-api/v3 v3.0.0-20260526093827-489331a5a41f

require google.golang.org/grpc v1.71.0

require (
	golang.org/x/net v0.34.0 // indirect
	golang.org/x/sys v0.29.0 // indirect
	golang.org/x/text v0.21.0 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20250115164207-1a7da9e5054f // indirect
	google.golang.org/protobuf v1.36.4 // indirect
)
