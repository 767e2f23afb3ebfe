package codec

import (
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"
)

// failureConverter encrypts messages and stack traces. The SDK's own option for that
// (EncodeCommonAttributes) leaves them readable in a failure that was decoded before it
// is recorded, as that of a local activity is: it decodes in place, and gives the same
// failure back for the error that it made of it. So this one works on copies.
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

// encoded is the SDK's message of a failure whose message is elsewhere.
const encoded = "Encoded failure"

func (c failureConverter) ErrorToFailure(err error) *failurepb.Failure {
	failure := c.FailureConverter.ErrorToFailure(err)
	if failure == nil {
		return nil
	}
	failure = proto.Clone(failure).(*failurepb.Failure)
	for f := failure; f != nil; f = f.Cause {
		if f.EncodedAttributes != nil && f.Message == encoded {
			continue // it came encrypted, under a key that is not here
		}
		if converter.EncodeCommonFailureAttributes(c.data, f) != nil {
			f.Message, f.StackTrace = encoded, ""
		}
	}
	return failure
}
