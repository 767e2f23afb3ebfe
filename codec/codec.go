// Package codec encrypts what Temporal stores about wallets: inputs, results, signals, updates,
// failures and summaries. Workers, callers and the Web UI's codec server share the keys;
// Temporal never has them.
//
//	keys, err := codec.FromEnv() // WALLET_PAYLOAD_KEYS
//	options := client.Options{HostPort: "temporal:7233"}
//	keys.Secure(&options)
//	c, err := client.Dial(options)
//
// Without keys nothing is encrypted. Unencrypted payloads from earlier stay readable either
// way.
//
// The format is that of Temporal's own encryption samples in each SDK, so callers in other
// languages need no code from this project.
package codec

import (
	"maps"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"
)

// Encoding marks an encrypted payload.
const Encoding = "binary/encrypted"

// The metadata of an encrypted payload.
const (
	metadataKeyID = "encryption-key-id"
	// metadataProblem says why a payload was passed on unchanged.
	metadataProblem = "encryption-problem"
)

// Secure makes a client encrypt and decrypt payloads, and the messages and stack traces of
// failures.
func (k *Keys) Secure(options *client.Options) {
	options.DataConverter, options.FailureConverter = k.DataConverter(), k.FailureConverter()
}

// FailureConverter also reads the details of failures.
func (k *Keys) FailureConverter() converter.FailureConverter {
	data := k.DataConverter()
	plain := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: data})
	if !k.encrypts() {
		return plain
	}
	return failureConverter{plain, data}
}

// DataConverter is the SDK's default converter with encryption.
func (k *Keys) DataConverter() converter.DataConverter {
	return converter.NewCodecDataConverter(converter.NewCompositeDataConverter(
		converter.NewNilPayloadConverter(),
		converter.NewByteSlicePayloadConverter(),
		converter.NewProtoJSONPayloadConverter(),
		converter.NewProtoPayloadConverter(),
		converter.NewJSONPayloadConverter(),
		unreadableConverter{},
	), k)
}

// Encode encrypts with the first key; without keys, payloads stay as they are.
func (k *Keys) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	if !k.encrypts() {
		return payloads, nil
	}
	first := k.keys[0]
	encrypted := make([]*commonpb.Payload, len(payloads))
	for i, payload := range payloads {
		plain, err := proto.Marshal(payload)
		if err != nil {
			return nil, err
		}
		encrypted[i] = &commonpb.Payload{
			Metadata: map[string][]byte{converter.MetadataEncoding: []byte(Encoding), metadataKeyID: []byte(first.id)},
			Data:     first.aead.Seal(nil, nil, plain, nil), // with its own random nonce
		}
	}
	return encrypted, nil
}

// Decode decrypts what is encrypted. A payload that no key opens is passed on with the reason
// instead of being refused: the SDK would drop a signal that cannot be decoded, or fail the
// workflow. A reader of the value gets an *UnreadableError; the wallet's workflow, which takes
// raw payloads, waits for a worker that has the key.
func (k *Keys) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	decoded := make([]*commonpb.Payload, len(payloads))
	for i, payload := range payloads {
		decoded[i] = payload
		if string(payload.GetMetadata()[converter.MetadataEncoding]) != Encoding {
			continue
		}
		plain, problem := k.open(payload)
		if problem != "" {
			metadata := maps.Clone(payload.Metadata)
			metadata[metadataProblem] = []byte(problem)
			plain = &commonpb.Payload{Metadata: metadata, Data: payload.Data}
		}
		decoded[i] = plain
	}
	return decoded, nil
}

// open decrypts a payload, or says why it cannot.
func (k *Keys) open(payload *commonpb.Payload) (opened *commonpb.Payload, problem string) {
	if len(k.keys) == 0 {
		return nil, problemNoKeys
	}
	for _, key := range k.keys {
		if key.id != string(payload.Metadata[metadataKeyID]) {
			continue
		}
		plain, err := key.aead.Open(nil, nil, payload.Data, nil)
		opened = &commonpb.Payload{}
		if err != nil || proto.Unmarshal(plain, opened) != nil {
			return nil, problemOtherKey
		}
		if string(opened.GetMetadata()[converter.MetadataEncoding]) == Encoding {
			return nil, problemTwice
		}
		return opened, ""
	}
	return nil, problemUnknownKey
}
