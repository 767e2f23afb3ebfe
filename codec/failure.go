package codec

import (
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

// failureConverter encrypts messages and stack traces. The SDK's own option for that
// (EncodeCommonAttributes) leaves them readable if a failure is decoded before it is recorded,
// as a local activity's is: the SDK decodes in place, and returns that same failure for the
// error it made from it. So this converter works on copies.
type failureConverter struct {
	converter.FailureConverter
	data converter.DataConverter
}

func (c failureConverter) FailureToError(failure *failurepb.Failure) error {
	if failure == nil {
		return nil
	}
	return c.FailureConverter.FailureToError(proto.Clone(failure).(*failurepb.Failure))
}

// encoded is the SDK's placeholder for a message that was moved into the encrypted attributes.
const encoded = "Encoded failure"

func (c failureConverter) ErrorToFailure(err error) *failurepb.Failure {
	failure := c.FailureConverter.ErrorToFailure(err)
	if failure == nil {
		return nil
	}
	failure = proto.Clone(failure).(*failurepb.Failure)
	for f := failure; f != nil; f = f.Cause {
		if f.EncodedAttributes != nil && f.Message == encoded {
			continue // it came encrypted with a key that we do not have
		}
		if converter.EncodeCommonFailureAttributes(c.data, f) != nil {
			f.Message, f.StackTrace = encoded, ""
		}
	}
	return failure
}
