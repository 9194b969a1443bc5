# SPDX-License-Identifier: Apache-2.0
"""Where our answers are not a real Triton's, on purpose: reasons, and what we say to which request."""

LAYOUT = {"keys": ["model_name", "model_version"], "id": None, "version": "1", "fits": True,
          "type": "application/octet-stream", "header length": True}

OTHERWISE = {
    "Health answers with the JSON of the Open Inference Protocol; Triton's answer has no body.": {
        "live": [200, {"live": "bool"}],
        "ready": [200, {"ready": "bool"}],
        "model ready": [200, {"name": "str", "ready": "bool"}],
    },
    "A request that is wrong is its client's mistake, 4xx; Triton says 500 or 400.": {
        "unknown model, stats": [404, "Request for unknown model: 'nope' is not found"],
        "unknown model, ready": [404, "Request for unknown model: 'nope' is not found"],
        "no inputs at all": [400, "[request id: <id_unknown>] expected number of inputs between 1 and 2 but got 0 "
                                  "inputs for model 'foveate'. Got input(s) [], but missing required input(s) "
                                  "['image']. Please provide all required input(s)"],
        "negative shape": [400, "malformed request: shape: expected a list of at most 8 sizes"],
        "shape of letters": [400, "malformed request: shape: expected a list of at most 8 sizes"],
        "no shape": [400, "malformed request: shape: expected a list of at most 8 sizes"],
        "no datatype": [400, "inference input 'gaze' has an unknown data-type"],
        "no name": [400, "malformed request: input: expected a name"],
        "data too short": [400, "[request id: <id_unknown>] input 'gaze' for model 'foveate' has another number of "
                                "elements than its shape. Expected 2, got 1"],
        "data too long": [400, "[request id: <id_unknown>] input 'gaze' for model 'foveate' has another number of "
                               "elements than its shape. Expected 2, got 3"],
        "data of letters": [400, "inference input 'gaze' has a value outside of FP32"],
        "data is not a list": [400, "[request id: <id_unknown>] input 'gaze' for model 'foveate' has another number "
                                    "of elements than its shape. Expected 2, got another shape"],
        "output without a name": [400, "malformed request: output: expected a name"],
        "no JSON": [400, "malformed JSON: expected one object in UTF-8, without NaN or infinity"],
        "JSON is a list": [400, "malformed JSON: expected one object in UTF-8, without NaN or infinity"],
        "header length cuts the JSON": [400, "malformed JSON: expected one object in UTF-8, without NaN or infinity"],
        "no header length": [400, "malformed JSON: expected one object in UTF-8, without NaN or infinity"],
        "negative binary size": [400, "malformed request: binary_data_size: expected a number of bytes"],
        "binary size of letters": [400, "malformed request: binary_data_size: expected a number of bytes"],
        "parameters are a list": [400, "malformed request: parameters: expected an object of strings, numbers and "
                                       "booleans"],
        "timeout of letters": [400, "inference parameter 'timeout' for model 'foveate': expected a whole number, "
                                    "0..4611686018427387904"],
        "binary_data_output is a number": [400, "malformed request: binary_data_output: expected true or false"],
        "id is a number": [400, "malformed request: id: expected at most 128 printable characters"],
    },
    "The same status, our own words.": {
        "version of letters": [404, "Request for unknown model: 'foveate' version one is not found"],
        "unknown path": [404, "no such path"],
        "wrong method": [405, "no such method on this path"],
        "unknown type": [400, "inference input 'gaze' has an unknown data-type"],
        "huge shape": [400, "malformed request: shape: expected a list of at most 8 sizes"],
        "no data": [400, "malformed request: input: expected either data or the parameter binary_data_size, and no "
                         "other"],
        "an element's length is too large": [400, "[request id: <id_unknown>] input 'image' for model 'foveate' has "
                                                  "another number of elements than its shape. Expected 1, got 0 and a "
                                                  "part of one"],
        "two elements for one": [400, "[request id: <id_unknown>] input 'image' for model 'foveate' has another "
                                      "number of elements than its shape. Expected 1, got more"],
        "no element for one": [400, "[request id: <id_unknown>] input 'image' for model 'foveate' has another number "
                                    "of elements than its shape. Expected 1, got 0"],
        "empty body": [400, "malformed JSON: expected one object in UTF-8, without NaN or infinity"],
        "too deep": [400, "JSON is too deep: at most 32 levels"],
        "header length of letters": [400, "malformed Inference-Header-Content-Length: expected digits, at most the "
                                          "body's size"],
        "header length, negative": [400, "malformed Inference-Header-Content-Length: expected digits, at most the "
                                         "body's size"],
        "header length beyond the body": [400, "malformed Inference-Header-Content-Length: expected digits, at most "
                                               "the body's size"],
        "parameter is an object": [400, "malformed request: parameters: expected an object of strings, numbers and "
                                        "booleans"],
    },
    "Outputs come in the order that was asked for; Triton's in the model's.": {
        "outputs, the other order": [200, {**LAYOUT, "outputs": [
            ["valid", "BOOL", 2, ["parameters"], ["binary_data_size"]],
            ["rate", "INT32", 2, ["parameters"], ["binary_data_size"]],
            ["center_px", "FP32", 3, ["parameters"], ["binary_data_size"]]]}],
    },
    "What is not understood is refused: it would be ignored.": {
        "missing input": [400, "[request id: <id_unknown>] expected number of inputs between 1 and 2 but got 1 inputs "
                               "for model 'foveate'. Got input(s) ['gaze'], but missing required input(s) ['image']. "
                               "Please provide all required input(s)"],
        "NaN": [400, "malformed JSON: expected one object in UTF-8, without NaN or infinity"],
        "output twice": [400, "request names output 'rate' twice"],
        "a key twice": [400, "JSON names a key twice in one object"],
        "unknown key": [400, "malformed request: request: expected an object with id, inputs, outputs, parameters"],
        "unknown parameter": [400, "unexpected inference parameter 'zz' for model 'foveate'"],
        "id is long": [400, "malformed request: id: expected at most 128 printable characters"],
    },
    "How many points are expected is known from the images.": {
        "wrong rank": [400, "[request id: <id_unknown>] unexpected shape for input 'gaze' for model 'foveate'. "
                            "Expected [1,2], got [2]"],
        "wrong shape": [400, "[request id: <id_unknown>] unexpected shape for input 'gaze' for model 'foveate'. "
                             "Expected [1,2], got [1,3]"],
    },
    "Not spoken here, and not among the extensions.": {
        "system memory status": [501, "shared memory by name is not supported by this server"],
        "system memory register": [501, "shared memory by name is not supported by this server"],
        "input of a region": [501, "shared memory by name is not supported by this server"],
        "output to a region": [501, "shared memory by name is not supported by this server"],
        "load": [501, "loading and unloading of models is not supported by this server"],
        "unload of another": [501, "loading and unloading of models is not supported by this server"],
        "classification": [501, "classification is not supported by this server"],
        "logging": [501, "changing of logs is not supported by this server"],
        "trace": [501, "tracing by request is not supported by this server"],
        "generate": [501, "generation is not supported by this server"],
    },
}
