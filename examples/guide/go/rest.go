package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

// address is where the server is.
func address() string {
	if address := os.Getenv("MILVUS_ADDRESS"); address != "" {
		return address
	}
	return "localhost:19530"
}

// rest calls Milvus' REST v2, on the same port; data takes what the answer holds.
func rest(ctx context.Context, path string, body map[string]string, data any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	url := "http://" + address() + "/v2/vectordb/" + path
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if token := os.Getenv("MILVUS_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	// the outcome is in the code: HTTP's status is always 200
	var envelope struct {
		Code    int32
		Message string
		Data    json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&envelope); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if envelope.Code != 0 {
		return fmt.Errorf("%d: %s", envelope.Code, envelope.Message)
	}
	return json.Unmarshal(envelope.Data, data)
}
