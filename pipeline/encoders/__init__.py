"""Models of transformers as encoders of text, sound, pictures and video: opened safely, read and pooled, in batches.

    wanted = Wanted("audio", "extract_audio.encoder")       # kind of input, setting for messages
    folder = model_folder(settings.encoder, wanted)         # a folder, or the snapshot of name@commit of the hub
    model, extractor = open_model(folder, wanted), open_processor(folder, wanted)
    encoder = tower(model, "audio")                         # the part that encodes this kind (Whisper's encoder)
    layers = read_layer(settings.layer, count, folder)      # count = count_layers(a trial's output); () = last
    batching = check_batching(run, short, other, long)      # run: inputs -> their valid states, [T, D] each
    vectors = run_in_batches(inputs, lengths, budget, batching, encode)  # budget: longest length x inputs of a batch

`encode` calls the encoder on a batch (`output_hidden_states=bool(layers)`, within `autocast(where)`), takes
`layer_states(output, layers)` [B, T, D], and returns `pool(states, mask, settings.pooling)`. The identity of features
holds `model_hash(folder)`, which an edit of the folder changes, and the settings.
"""
