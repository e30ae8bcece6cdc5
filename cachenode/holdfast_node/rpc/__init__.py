"""The gRPC services: protobuf on one side, plain values on the other."""
