/** What names of files and folders say of a source of data. */

/** JPEG goes by five names, that of several views of a camera (MPO) among them: the first is read. */
export const IMAGE = /\.(jpe?g|jfif|jpe|mpo|png|webp|gif|tiff?|avif|bmp|dib|p[bgpn]m)$/i;

export const SOUND = /\.(wave?|aiff?|aifc|flac|mp3|ogg|oga|opus)$/i;
export const isImageOrSound = (name: string): boolean => IMAGE.test(name) || SOUND.test(name);

/** Folders of images beside those of masks: of VOC (JPEGImages), Cityscapes (leftImg8bit) and all others. */
export const IMAGE_FOLDER = /^(images?|imgs?|jpegimages|leftimg8bit|photos?|inputs?)(_dir)?$/i;
/**
 * Folders of masks: of VOC (SegmentationClass), Cityscapes (gtFine), ADE20K (annotations), Oxford's pets (trimaps),
 * MMSegmentation (ann_dir) and all others.
 */
export const MASK_FOLDER = new RegExp(
  '^(masks?|labels?|annotations?|annots?|anns?|trimaps?|segmentations?|segmentationclass(aug|raw)?|gtfine|gtcoarse|' +
    'gt|ground_?truths?)(_dir)?$',
  'i',
);
