// Package payloads extracts callers' JSON from Temporal's payloads.
package payloads

import (
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"github.com/valueledger/wallet"
	"github.com/valueledger/wallet/codec"
)

// JSON returns the JSON of a payload in the encoding that all SDKs use for it. An absent
// payload, or a null one, is empty JSON, which the decoders refuse with a clear message; one
// that is still encrypted is a *codec.UnreadableError.
func JSON(value converter.RawValue) ([]byte, error) {
	if err := codec.Unreadable(value.Payload()); err != nil {
		return nil, err
	}
	encoding := Encoding(value.Payload())
	if value.Payload() == nil || encoding == converter.MetadataEncodingNil {
		return nil, nil
	}
	if encoding != converter.MetadataEncodingJSON {
		return nil, wallet.InvalidEncoding(encoding, converter.MetadataEncodingJSON)
	}
	return value.Payload().GetData(), nil
}

// Encoding is the encoding that a payload claims to have.
func Encoding(p *commonpb.Payload) string {
	return string(p.GetMetadata()[converter.MetadataEncoding])
}
