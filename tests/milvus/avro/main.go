// Reads manifests with hamba/avro, the library that Milvus itself reads and writes them with.
//
//	avro read FILE     prints the record of a manifest as JSON: a bare datum of format version 4, or a container file
//	avro write FILE    reads one and writes it anew to standard output, as a bare datum, as Milvus does
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/ocf"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: avro read|write FILE")
	}
	content, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	entry, err := read(content)
	if err != nil {
		log.Fatalf("%s: %v", os.Args[2], err)
	}
	var out []byte
	switch os.Args[1] {
	case "read":
		out, err = json.Marshal(entry)
	case "write":
		out, err = avro.Marshal(schema, entry)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(out); err != nil {
		log.Fatal(err)
	}
}

// read takes every byte of the file.
func read(content []byte) (*ManifestEntry, error) {
	if bytes.HasPrefix(content, []byte("Obj\x01")) {
		return readContainer(content)
	}
	entry := new(ManifestEntry)
	reader := avro.NewReader(bytes.NewReader(content), 512)
	if reader.ReadVal(schema, entry); reader.Error != nil {
		return nil, reader.Error
	}
	if reader.Peek(); !errors.Is(reader.Error, io.EOF) {
		return nil, errors.New("there are bytes behind the record")
	}
	return entry, nil
}

// readContainer goes by the schema in the file, as any Avro reader does.
func readContainer(content []byte) (*ManifestEntry, error) {
	decoder, err := ocf.NewDecoder(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if !decoder.HasNext() {
		return nil, errors.New("there is no record")
	}
	entry := new(ManifestEntry)
	if err := decoder.Decode(entry); err != nil {
		return nil, err
	}
	if decoder.HasNext() {
		return nil, errors.New("there is more than one record")
	}
	return entry, decoder.Error()
}
